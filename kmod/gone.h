/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_GONE_H
#define TOWLINE_GONE_H

#include "device.h"

int tl_gone_watch(struct block_device *bdev);
void tl_gone_exit(void);

#endif
