/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a class calls when a device of it is removed lost an argument in 6.4.
 */
#ifndef TOWLINE_COMPAT_CLASS_H
#define TOWLINE_COMPAT_CLASS_H

#include <linux/device.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
#define TL_CLASS_REMOVED(name, device) static void name(struct device *device)
#else
#define TL_CLASS_REMOVED(name, device) \
	static void name(struct device *device, struct class_interface *unused)
#endif

#endif
