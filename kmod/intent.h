/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_INTENT_H
#define TOWLINE_INTENT_H

#include <linux/bitmap.h>
#include <linux/mutex.h>

#include "device.h"
#include "log.h"
#include "log_format.h"

enum tl_intent_state {
	TL_INTENT_STARTING, /* being attached: who writes waits, and nothing is logged for him */
	TL_INTENT_CLEAN, /* the log says that nothing was written since: it is to be opened first */
	TL_INTENT_OPEN,
	TL_INTENT_FAILED, /* writes go on without it, and it says so if it can be made to */
	TL_INTENT_LEFT, /* being detached: as when starting */
};

/*
 * Which regions of a device may hold changes that no consumer has: in memory, and in the log.
 *
 * A write goes on if its regions are durable, which each write looks at under its slot's lock.
 * What is durable is hot, and in the log.
 */
struct tl_intent {
	struct tl_device *device;
	unsigned int region_shift; /* of sectors in a region */
	u64 regions;
	u64 region_blocks; /* of the log, from its second block on */
	u64 map_blocks; /* of each of the two maps, behind those */
	enum tl_intent_state state; /* changed under mutex */

	struct mutex mutex; /* for the log, and what follows; durable is read without it */
	unsigned long *hot; /* what the log is to say */
	unsigned long *durable;
	unsigned long *cooling; /* only while tl_intent_cool() is at it */
	unsigned long *stale; /* a bit a block of regions: the log does not say so yet */
	struct tl_log *log;
	struct tl_log_header header; /* as it is in the log, or is to be */
	bool header_stale; /* it does not say yet what was committed */
	struct tl_log *witness; /* NULL: it is the log's last block */
	bool believed; /* the witness says that the log is to be */
	u64 counted; /* sectors that the kernel had counted as written when it was attached */
	bool created;
	bool no_gap;
	bool invalid; /* it failed, and the log says so */
	int error; /* why it failed */
	u8 identity[64]; /* what the program gave */
	struct delayed_work work; /* see intent_work() */
	bool superblock_written; /* and not yet looked at */
	int doubt; /* what it says can't be believed any more: a negative errno */
	sector_t superblock_mask;

	unsigned long *pending; /* under tl_lock: regions that a consumer has not sealed */

	/* What was found in the log; see record.c. */
	enum tl_log_state found; /* 0: nothing is to be gone on from */
	u32 found_reason; /* if it is not: why */
	struct tl_map *present; /* of a clean end */
	struct tl_map *frozen;
};

void tl_intent_prepare(struct tl_intent *intent);
void tl_intent_free(struct tl_intent *intent);
bool tl_intent_is_idle(struct tl_intent *intent);
void tl_intent_open_locked(struct tl_intent *intent);
void tl_intent_fail_locked(struct tl_intent *intent, int error);
bool tl_intent_make_way(struct tl_device *device, sector_t first, u32 sectors);
void tl_intent_want(struct tl_intent *intent, sector_t first, u32 sectors);
bool tl_intent_admits_slowly(const struct tl_intent *intent, u64 first, u64 last);
bool tl_intent_is_own(const struct tl_intent *intent, const struct bio *bio);
void tl_intent_look(struct tl_intent *intent);
void tl_intent_doubt(struct tl_device *device, int error);
bool tl_intent_can_be_believed(struct tl_intent *intent);
int tl_intent_write_header(struct tl_intent *intent, enum tl_log_state state);
int tl_intent_heat_marked_locked(struct tl_intent *intent);
void tl_intent_set_pending(struct tl_intent *intent, const unsigned long *bits, size_t bytes);
bool tl_intent_can_cool(const struct tl_device *device);
void tl_intent_cool(struct tl_device *device);
u64 tl_intent_hot_count(struct tl_intent *intent);

int tl_intents_init(void);
void tl_intents_exit(void);

/* Whether a write to these sectors of the device can go on. Called under a slot's lock. */
static inline bool tl_intent_admits(const struct tl_intent *intent, sector_t first, u32 sectors)
{
	u64 region = first >> intent->region_shift;
	u64 last = (first + sectors - 1) >> intent->region_shift;

	if (likely(region == last && region < intent->regions))
		return test_bit(region, intent->durable);
	return tl_intent_admits_slowly(intent, region, last);
}

/* Whether a write that begins there may be to a superblock: of the device, or of a partition. */
static inline bool tl_intent_is_superblock(const struct tl_intent *intent, sector_t first)
{
	return (first & intent->superblock_mask) < ((SZ_64K + SZ_4K) >> SECTOR_SHIFT);
}

#endif
