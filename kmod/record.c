// SPDX-License-Identifier: GPL-2.0-only
/*
 * What an intent log says of its device from one attach to the next: opened while it is attached,
 * clean after it.
 *
 *     create --> open -- clean end --> clean -- first write, or attach --> open
 *                  |                                                        |
 *                  +---- a crash: the hot regions may have changed ---------+
 *
 * Beginning. All that is there is read before the device is tracked, and nothing is written. Then,
 * with its writes held, it is decided whether what was found can be gone on from (vouch.c):
 *
 *   - clean: both maps are as they were, nothing is lost;
 *   - open: there was a crash. All hot regions are marked; what was frozen is given back by that;
 *   - otherwise, or if a write went on past a log that could not be written, nothing is known: the
 *     device gets a new uuid. The header says that nothing is to be believed before the regions are
 *     emptied, so that a crash in between is not taken for one with no region hot.
 *
 * Only after the header says open are writes let on. So a header that says clean is of a device to
 * which nothing was written since, as far as it was tracked; who wrote untracked is for vouch.c.
 *
 * Ending. Writes are held and those in flight waited for, the device is flushed, the maps are
 * written, and when they are durable the header. At a shutdown writes can still come later: the
 * device stays attached, and the first of them opens the log again.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/slab.h>

#include "record.h"
#include "vouch.h"
#include "write.h"

#define DRAIN_TIMEOUT (10 * HZ)
/* Of the log, while it is not known whether its writes end up behind the very gate they are for. */
#define FIRST_TIMEOUT (5 * HZ)
#define RUN_TIMEOUT (30 * HZ)

/* After a crash numbers go on where none can have been given out. */
#define SEQUENCE_STEP BIT_ULL(32)
#define GENERATION_STEP BIT_ULL(32)

/* From there on in the list, as far as it goes; how many there are then. */
static u32 add_ranges(const struct tl_device *device, const struct tl_extents *extents,
		      struct towline_extent *list, u32 capacity, u32 count)
{
	const struct block_device *bdev = extents->opened.bdev;
	u32 i;

	if (bdev->bd_disk != device->disk)
		return count;
	for (i = 0; i < extents->count; i++) {
		sector_t first = bdev->bd_start_sect + extents->list[i].first;

		if (first < device->first || first >= device->end)
			continue;
		if (count < capacity)
			list[count] = (struct towline_extent){
				.first_sector = first - device->first,
				.sectors = extents->list[i].sectors,
			};
		count++;
	}
	return count;
}

/* What of the log and its witness lies on the device that they are for; as many as there are. */
u32 tl_record_own_ranges(const struct tl_device *device, struct towline_extent *list, u32 capacity)
{
	const struct tl_intent *intent = device->intent;
	u32 count = add_ranges(device, intent->log->extents, list, capacity, 0);

	if (intent->witness)
		count = add_ranges(device, intent->witness->extents, list, capacity, count);
	return count;
}

/* False: no memory. The list is to be freed by kvfree(). */
bool tl_record_own_list(const struct tl_device *device, struct towline_extent **list, u32 *count)
{
	*count = device->intent ? tl_record_own_ranges(device, NULL, 0) : 0;
	*list = *count ? kvcalloc(*count, sizeof(**list), GFP_KERNEL) : NULL;
	if (*list)
		tl_record_own_ranges(device, *list, *count);
	return *list || !*count;
}

static void mark_hot_regions(struct tl_device *device)
{
	const struct tl_intent *intent = device->intent;
	unsigned int shift = intent->region_shift - device->block_shift;
	u64 region;

	for_each_set_bit(region, intent->hot, intent->regions)
		tl_map_mark_many(device->present, region << shift, ((region + 1) << shift) - 1);
}

/* Blocks that are the log's as a whole. Without memory they stay marked, which does no harm. */
static void unmark_own_ranges(struct tl_device *device)
{
	struct towline_extent *list;
	u32 i, count;

	if (!tl_record_own_list(device, &list, &count))
		return;
	for (i = 0; i < count; i++) {
		u64 end = (list[i].first_sector + list[i].sectors) >> device->block_shift;
		u64 first = tl_device_blocks(device, list[i].first_sector);

		if (end > first)
			tl_map_unmark(device->present, first, end - 1);
	}
	kvfree(list);
}

/* As if nothing had been between. Writes are held: nobody marks. */
static void go_on(struct tl_device *device)
{
	struct tl_intent *intent = device->intent;
	const struct tl_log_header *header = &intent->header;

	device->uuid = header->tracker;
	device->sequence = le64_to_cpu(header->sequence);
	device->sequence_committed = le64_to_cpu(header->sequence_committed);
	device->reasons = le32_to_cpu(header->reasons) | TOWLINE_REASON_RESTORED;
	device->trust = le32_to_cpu(header->trust);
	tl_map_merge(device->present, intent->present);
	if (intent->frozen) {
		device->frozen = intent->frozen;
		intent->frozen = NULL;
		tl_map_put(device->spare);
		device->spare = NULL;
		device->reasons_frozen = le32_to_cpu(header->reasons_frozen);
		device->trust_frozen = le32_to_cpu(header->trust_frozen);
	}
}

static void go_on_after_crash(struct tl_device *device)
{
	const struct tl_log_header *header = &device->intent->header;

	device->uuid = header->tracker;
	device->sequence = round_up(le64_to_cpu(header->sequence) + 1, SEQUENCE_STEP);
	device->sequence_committed = le64_to_cpu(header->sequence_committed);
	device->reasons = TOWLINE_REASON_CRASHED;
	device->trust = max_t(u32, le32_to_cpu(header->trust), TOWLINE_TRUST_SUPERSET);
	mark_hot_regions(device);
	unmark_own_ranges(device);
}

static int begin_anew(struct tl_device *device)
{
	struct tl_intent *intent = device->intent;
	u64 block;
	int error;

	if (intent->created)
		return 0;
	device->reasons |= intent->found_reason;
	device->trust = TOWLINE_TRUST_UNKNOWN;
	error = tl_intent_write_header(intent, TL_LOG_INVALID);
	bitmap_zero(intent->hot, intent->regions);
	for (block = 0; block < intent->region_blocks && !error; block++)
		error = tl_log_write(intent->log, 1 + block, TL_LOG_REGIONS, NULL, 0, 0);
	return error;
}

static void fill_header(const struct tl_device *device, struct tl_log_header *header)
{
	header->tracker = device->uuid;
	header->sequence = cpu_to_le64(device->sequence);
	header->sequence_committed = cpu_to_le64(device->sequence_committed);
	header->has_frozen = cpu_to_le32(!!device->frozen);
	header->trust = cpu_to_le32(device->trust);
	header->trust_frozen = cpu_to_le32(device->trust_frozen);
	header->reasons = cpu_to_le32(device->reasons);
	header->reasons_frozen = cpu_to_le32(device->reasons_frozen);
}

static int begin_locked(struct tl_device *device, struct block_device *bdev)
{
	struct tl_intent *intent = device->intent;
	struct tl_log_vouch now = {};
	bool clean = intent->found == TL_LOG_CLEAN;
	int error;

	error = tl_vouch_take(bdev, intent->log->page, &now);
	if (error)
		return error;
	memcpy(now.identity, intent->identity, sizeof(now.identity));
	intent->log->generation = round_up(intent->log->generation + 1, GENERATION_STEP);
	if (!tl_vouch_is_same_volume(&intent->header.vouch, &now) && !intent->created)
		return -EXDEV;
	if (intent->found && !tl_vouch_holds(&intent->header.vouch, &now, clean, intent->no_gap)) {
		intent->found = 0;
		intent->found_reason = TOWLINE_REASON_GAP;
	}
	if (!intent->found)
		error = begin_anew(device);
	else if (intent->present)
		go_on(device);
	else
		go_on_after_crash(device);
	if (error)
		return error;
	intent->counted = tl_vouch_sectors_written(bdev);
	intent->superblock_mask = bdev_is_partition(bdev) ? ~(sector_t)0 : SZ_1M / SECTOR_SIZE - 1;
	intent->header.vouch = now;
	intent->superblock_written = false;
	fill_header(device, &intent->header);
	error = tl_intent_write_header(intent, TL_LOG_OPEN);
	if (!error)
		tl_intent_open_locked(intent);
	return error;
}

static void set_timeout(struct tl_intent *intent, unsigned long timeout)
{
	intent->log->timeout = timeout;
	if (intent->witness)
		intent->witness->timeout = timeout;
}

/*
 * The device is in the filter's table, its writes are held, and those begun before are complete.
 * -EDEADLK: what is written to the log ends up on the device, behind what waits for it. -EXDEV: the
 * log is of another volume.
 */
int tl_record_begin(struct tl_device *device, struct block_device *bdev)
{
	struct tl_intent *intent = device->intent;
	int error;

	mutex_lock(&intent->mutex);
	set_timeout(intent, FIRST_TIMEOUT);
	error = begin_locked(device, bdev);
	set_timeout(intent, RUN_TIMEOUT);
	mutex_unlock(&intent->mutex);
	tl_map_put(intent->present);
	intent->present = NULL;
	return error == -ETIMEDOUT ? -EDEADLK : error;
}

/* What a mount changed, while the log is open; under its mutex. */
int tl_record_refresh_locked(struct tl_intent *intent, struct block_device *bdev)
{
	struct tl_log_vouch now = {};
	int error = tl_vouch_take(bdev, intent->log->page, &now);

	/* A superblock that can't be read can't be vouched for. */
	if (error)
		now.mount = 0;
	if (now.mount == intent->header.vouch.mount)
		return 0;
	intent->header.vouch.mount = now.mount;
	return tl_intent_write_header(intent, TL_LOG_OPEN);
}

/* Whether somebody can go on writing when the device is not tracked any more. */
static bool is_in_use(const struct tl_intent *intent, struct block_device *bdev)
{
	int own = 1 + (intent->log->extents->opened.bdev == bdev) +
		  (intent->witness && intent->witness->extents->opened.bdev == bdev);

	return atomic_read(&bdev->bd_openers) > own;
}

/* By the kernel's count nothing may be told if it did not count what was seen. */
static void check_count(const struct tl_device *device, struct tl_log_vouch *vouch)
{
	struct tl_writes_seen seen;

	tl_writes_look(device, &seen);
	if (seen.writes && le64_to_cpu(vouch->sectors_written) == device->intent->counted)
		vouch->sectors_written = cpu_to_le64(TL_VOUCH_NOT_COUNTED);
}

/* The header's own write is counted, too, if it is on the device. */
static void count_header(const struct tl_intent *intent, struct block_device *bdev,
			 struct tl_log_vouch *vouch)
{
	const struct block_device *at = intent->log->extents->opened.bdev;

	if (le64_to_cpu(vouch->sectors_written) != TL_VOUCH_NOT_COUNTED &&
	    at->bd_disk == bdev->bd_disk && (at == bdev || !bdev_is_partition(bdev)))
		le64_add_cpu(&vouch->sectors_written, TL_LOG_SECTORS);
}

static int save_locked(struct tl_device *device, struct block_device *bdev, bool leaving)
{
	struct tl_intent *intent = device->intent;
	struct tl_log_header *header = &intent->header;
	u64 saved;
	int error;

	/* What lies beyond the log is in neither; what happened to the size no freeze has seen. */
	if (bdev_nr_sectors(bdev) != device->sectors ||
	    device->sectors > le64_to_cpu(header->sectors_logged))
		return -ERANGE;
	error = blkdev_issue_flush(bdev) ?: tl_intent_heat_marked_locked(intent);
	if (error)
		return error;
	/* Each block of the maps has a generation of its own: told by its place, from here on. */
	saved = intent->log->generation + 1 - tl_record_map_block(intent, TL_LOG_PRESENT, 0);
	error = tl_record_write_map(intent, TL_LOG_PRESENT, device->present) ?:
		tl_record_write_map(intent, TL_LOG_FROZEN, device->frozen);
	if (error)
		return error;
	fill_header(device, header);
	header->saved = cpu_to_le64(saved);
	error = tl_vouch_take(bdev, intent->log->page, &header->vouch);
	if (error)
		return error;
	header->vouch.in_use = cpu_to_le32(leaving && is_in_use(intent, bdev));
	check_count(device, &header->vouch);
	count_header(intent, bdev, &header->vouch);
	return tl_intent_write_header(intent, TL_LOG_CLEAN);
}

/* Under mutex, writes are held. */
static void end_locked(struct tl_device *device, struct block_device *bdev, bool leaving)
{
	struct tl_intent *intent = device->intent;
	int error = -ENODEV;

	if (bdev)
		error = tl_writes_drain(device, DRAIN_TIMEOUT) ?
			save_locked(device, bdev, leaving) : -ETIMEDOUT;
	if (!error) {
		bitmap_zero(intent->durable, intent->regions);
		intent->error = 0;
		WRITE_ONCE(intent->state, TL_INTENT_CLEAN);
	} else {
		pr_err("%u:%u: no clean end (error %d)\n", MAJOR(device->number),
		       MINOR(device->number), error);
		/* Whoever writes from now on is not seen. */
		if (leaving && intent->state != TL_INTENT_FAILED)
			tl_intent_fail_locked(intent, error);
	}
	if (leaving)
		WRITE_ONCE(intent->state, TL_INTENT_LEFT);
}

/*
 * A clean end. Under tl_lock. leaving: the device is about to be detached, and its gate stays
 * closed until nobody finds it any more.
 */
void tl_record_end(struct tl_device *device, bool leaving)
{
	struct tl_intent *intent = device->intent;
	struct tl_place place = tl_device_place(device);
	struct tl_bdev opened;
	bool is_open;

	if (!intent)
		return;
	/* Before the gate is closed: opening can have to write. */
	is_open = !tl_place_open(&place, &opened);
	tl_gate_close(device);
	mutex_lock(&intent->mutex);
	if (intent->state == TL_INTENT_OPEN || intent->state == TL_INTENT_FAILED)
		end_locked(device, is_open ? opened.bdev : NULL, leaving);
	else if (leaving)
		WRITE_ONCE(intent->state, TL_INTENT_LEFT);
	mutex_unlock(&intent->mutex);
	if (!leaving)
		tl_gate_open(device);
	if (is_open)
		tl_bdev_close(&opened);
}
