/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_VOUCH_H
#define TOWLINE_VOUCH_H

#include "device.h"
#include "log_format.h"

/* Whether a device can have been written to while nobody tracked it; see vouch.c. */
int tl_vouch_take(struct block_device *bdev, struct page *page, struct tl_log_vouch *vouch);
bool tl_vouch_is_same_volume(const struct tl_log_vouch *then, const struct tl_log_vouch *now);
bool tl_vouch_holds(const struct tl_log_vouch *then, const struct tl_log_vouch *now, bool clean,
		    bool no_gap);
u64 tl_vouch_sectors_written(struct block_device *bdev);

#define TL_VOUCH_NOT_COUNTED (~0ULL)

#endif
