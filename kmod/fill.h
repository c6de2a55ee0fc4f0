/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_FILL_H
#define TOWLINE_FILL_H

#include <linux/types.h>

/*
 * How full a store is, how fast that grows, and when it is time to say so. No I/O and no clock of
 * its own. All of it is the worker's, but for reading a number.
 */
#define TL_FILL_SAMPLES 16
#define TL_FILL_PERIOD_NS (NSEC_PER_SEC / 2)

struct tl_fill {
	u64 stored; /* chunks */
	u64 most;
	u32 notify_percent; /* 0: never */
	u32 notify_seconds; /* 0: never */
	bool told_percent;
	bool told_seconds;
	unsigned int count; /* of samples ever taken */
	struct {
		u64 at;
		u64 stored;
	} samples[TL_FILL_SAMPLES];
};

#define TL_FILL_TELL_PERCENT 0x1U
#define TL_FILL_TELL_SECONDS 0x2U

void tl_fill_begin(struct tl_fill *fill, u64 now);
void tl_fill_grow(struct tl_fill *fill, u64 more);
unsigned int tl_fill_add(struct tl_fill *fill, u64 now);
u64 tl_fill_seconds(const struct tl_fill *fill, u64 now);

#endif
