// SPDX-License-Identifier: GPL-2.0-only
/*
 * The fill level of a store and its forecast. See fill.h.
 *
 * The rate is that of the last eight seconds, or of as long as the snapshot has stood: a store that
 * filled in a burst and then stood still is not called nearly full for long.
 */
#include <linux/limits.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/time64.h>

#include "fill.h"
#include "uapi/towline.h"

static void sample(struct tl_fill *fill, u64 now)
{
	unsigned int at = fill->count++ % TL_FILL_SAMPLES;

	fill->samples[at].at = now;
	fill->samples[at].stored = fill->stored;
}

void tl_fill_begin(struct tl_fill *fill, u64 now)
{
	sample(fill, now);
}

/* What was told is told again when it comes true of the larger store. */
void tl_fill_grow(struct tl_fill *fill, u64 more)
{
	fill->most += more;
	fill->told_percent = false;
	fill->told_seconds = false;
}

/*
 * Seconds until it is full, at the rate of late; TOWLINE_FORECAST_NONE: it does not fill. Who is not
 * the worker may see numbers of two moments.
 */
u64 tl_fill_seconds(const struct tl_fill *fill, u64 now)
{
	unsigned int known = min(fill->count, TL_FILL_SAMPLES + 0U);
	u64 reach = TL_FILL_SAMPLES / 2 * NSEC_PER_SEC, stored, left, passed;
	unsigned int back;

	if (!known)
		return TOWLINE_FORECAST_NONE;
	/* The newest sample as old as the reach, or the oldest there is. */
	for (back = 1; back < known; back++) {
		if (now - fill->samples[(fill->count - back) % TL_FILL_SAMPLES].at >= reach)
			break;
	}
	back = (fill->count - back) % TL_FILL_SAMPLES;
	stored = READ_ONCE(fill->stored);
	left = READ_ONCE(fill->most) - stored;
	stored -= fill->samples[back].stored;
	passed = div_u64(now - fill->samples[back].at, NSEC_PER_MSEC);
	if (!stored)
		return TOWLINE_FORECAST_NONE;
	/* There are fewer than 2^32 chunks, so that the product fits. */
	return div64_u64(left * clamp_t(u64, passed, 1, U32_MAX), stored * MSEC_PER_SEC);
}

/* A chunk more is stored. Returns what is to be told now: TL_FILL_TELL_*. */
unsigned int tl_fill_add(struct tl_fill *fill, u64 now)
{
	unsigned int tell = 0;

	fill->stored++;
	if (now - fill->samples[(fill->count - 1) % TL_FILL_SAMPLES].at >= TL_FILL_PERIOD_NS)
		sample(fill, now);
	if (fill->notify_percent && !fill->told_percent &&
	    fill->stored * 100 >= fill->most * fill->notify_percent) {
		fill->told_percent = true;
		tell |= TL_FILL_TELL_PERCENT;
	}
	/* One sample alone says nothing of a rate. */
	if (fill->notify_seconds && !fill->told_seconds && fill->count > 1 &&
	    tl_fill_seconds(fill, now) <= fill->notify_seconds) {
		fill->told_seconds = true;
		tell |= TL_FILL_TELL_SECONDS;
	}
	return tell;
}
