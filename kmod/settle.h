/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_SETTLE_H
#define TOWLINE_SETTLE_H

#include "device.h"

/* Until what was written before the device was in the filter's table is on it. May sleep. */
int tl_settle(struct tl_device *device, struct block_device *bdev, unsigned int timeout_ms);

#endif
