/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * That a queue's work runs on the CPU that queued it was what no flag meant; later kernels want it
 * said, and warn otherwise.
 */
#ifndef TOWLINE_COMPAT_WORKQUEUE_H
#define TOWLINE_COMPAT_WORKQUEUE_H

#include <linux/version.h>
#include <linux/workqueue.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
#define TL_WQ_PERCPU WQ_PERCPU
#else
#define TL_WQ_PERCPU 0
#endif

#endif
