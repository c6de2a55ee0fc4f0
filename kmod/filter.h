/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_FILTER_H
#define TOWLINE_FILTER_H

#include "device.h"

int tl_filter_prepare(struct tl_device *device);
void tl_filter_finish(struct tl_device *device);
void tl_filter_add(struct tl_device *device);
void tl_filter_remove(struct tl_device *device);
void tl_filter_gone(struct block_device *bdev);
bool tl_filter_is_idle(struct tl_device *device);
void tl_filter_kick(struct tl_device *device);
void tl_filter_want_held(struct tl_device *device);
bool tl_filter(struct bio *bio);

#endif
