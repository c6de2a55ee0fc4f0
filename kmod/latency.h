/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_LATENCY_H
#define TOWLINE_LATENCY_H

#include <linux/bitops.h>
#include <linux/math64.h>
#include <linux/minmax.h>

#include "uapi/towline.h"

/* How long something took, how often. By one writer at a time; readers take what they see. */
struct tl_latency {
	u64 counts[TOWLINE_LATENCY_BUCKETS];
};

static inline void tl_latency_add(struct tl_latency *latency, u64 nanoseconds, u64 count)
{
	unsigned int bucket = fls64(div_u64(nanoseconds, NSEC_PER_USEC));

	latency->counts[min(bucket, TOWLINE_LATENCY_BUCKETS - 1U)] += count;
}

/*
 * Since when the writes in a line have waited. A bio has no room for that, so it is kept beside the
 * line, in its order: writes that came together are one run. When there are more runs than room,
 * the last one takes in what comes, whose wait is then told too long, never too short.
 */
#define TL_RUNS 64
#define TL_RUN_NS 50000

struct tl_waits {
	struct {
		u64 since;
		u64 count;
	} runs[TL_RUNS];
	unsigned int first; /* of the runs */
	unsigned int used;
	struct tl_latency latency; /* of those that have left */
};

static inline void tl_waits_enter(struct tl_waits *waits, u64 now)
{
	unsigned int last = (waits->first + waits->used - 1) % TL_RUNS;

	if (!waits->used || (waits->used < TL_RUNS && now - waits->runs[last].since > TL_RUN_NS)) {
		last = (waits->first + waits->used++) % TL_RUNS;
		waits->runs[last].since = now;
		waits->runs[last].count = 0;
	}
	waits->runs[last].count++;
}

/* The one at the head of the line has left it. */
static inline void tl_waits_leave(struct tl_waits *waits, u64 now)
{
	tl_latency_add(&waits->latency, now - waits->runs[waits->first].since, 1);
	if (--waits->runs[waits->first].count)
		return;
	waits->first = (waits->first + 1) % TL_RUNS;
	waits->used--;
}

#endif
