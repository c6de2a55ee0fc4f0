// SPDX-License-Identifier: GPL-2.0-only
/*
 * Epochs: freezing the present one, and what becomes of a frozen one.
 *
 *     present -- freeze --> frozen -- commit --> dropped
 *        ^                    |
 *        +---- give_back -----+     (or a freeze meanwhile: the new one holds both)
 *
 * A frozen epoch's marks are dropped by commit alone. What can fail (memory, the device's size, the
 * hook) is settled for every device of a group before the first is switched; after that nothing
 * can.
 *
 * All of this runs under tl_lock. Writers only ever see device->present.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "epoch.h"
#include "events.h"
#include "hook.h"
#include "image.h"
#include "own.h"
#include "record.h"
#include "snapshot.h"
#include "write.h"

#define TIMEOUT_MS_DEFAULT 1000

/* A device of the group that is frozen. */
struct member {
	struct tl_bdev opened;
	struct tl_device *device;
	struct tl_map *next; /* empty, for the epoch that begins */
	struct tl_map *grown; /* the device grew: takes the marks of the epoch that ends */
	struct tl_snapshot *snapshot; /* NULL: none is wanted; a reference of ours */
	sector_t sectors; /* the device's size now */
};

/* The frozen map is of no use to us any more: the next epoch may have it, unless a program has. */
static void retire_frozen(struct tl_device *device)
{
	struct tl_map *map = device->frozen;

	device->frozen = NULL;
	if (device->spare || tl_map_is_shared(map))
		tl_map_put(map);
	else
		device->spare = map;
}

static void return_frozen(struct tl_device *device)
{
	tl_map_merge(device->present, device->frozen);
	device->reasons |= device->reasons_frozen | TOWLINE_REASON_MERGED;
	device->trust = max(device->trust, device->trust_frozen);
	retire_frozen(device);
}

static struct tl_map *empty_map(struct tl_device *device, u64 blocks)
{
	struct tl_map *map = device->spare;

	device->spare = NULL;
	if (map && map->blocks == blocks) {
		tl_map_clear(map);
		return map;
	}
	tl_map_put(map);
	return tl_map_create(blocks);
}

/*
 * Opens the device of that uuid, and makes ready its snapshot, without tl_lock; the caller looks it
 * up again under it.
 */
static int member_open(struct member *member, const uuid_t *uuid,
		       const struct towline_snapshot *wanted)
{
	struct tl_device *device;
	struct tl_place place;
	int error;

	mutex_lock(&tl_lock);
	device = tl_device_find(uuid);
	if (device)
		place = tl_device_place(device);
	mutex_unlock(&tl_lock);
	error = device ? tl_place_open(&place, &member->opened) : -ENOENT;
	if (error == -ENODEV)
		tl_device_tell_gone(uuid);
	if (error || !wanted)
		return error;
	member->snapshot = tl_snapshot_create(&place, uuid, wanted);
	if (!IS_ERR(member->snapshot))
		return 0;
	error = PTR_ERR(member->snapshot);
	member->snapshot = NULL;
	tl_bdev_close(&member->opened);
	return error;
}

static void member_close(struct member *member)
{
	tl_map_put(member->next);
	tl_map_put(member->grown);
	tl_snapshot_put(member->snapshot);
	tl_bdev_close(&member->opened);
}

static bool overlap(const struct tl_device *a, const struct tl_device *b)
{
	return a->disk == b->disk && a->first < b->end && b->first < a->end;
}

/*
 * A device comes once. Where writes are held, a disk and its partition can't be of one group: a
 * write that one of them has noted could be held by the other's gate, and would never end.
 */
static int check_group(const struct member *members, u32 count, u32 flags)
{
	u32 i, j;

	for (i = 0; i < count; i++) {
		for (j = 0; j < i; j++) {
			if (members[i].device == members[j].device)
				return -EINVAL;
			if (flags & TOWLINE_FREEZE_DRAIN &&
			    overlap(members[i].device, members[j].device))
				return -EINVAL;
		}
	}
	return 0;
}

/* All that can fail. An epoch that was left frozen is given back, whether or not this succeeds. */
static int prepare(struct member *member)
{
	struct tl_device *device = member->device;
	u64 blocks;

	member->sectors = bdev_nr_sectors(member->opened.bdev);
	if (!member->sectors)
		return -ENOMEDIUM;
	if (member->snapshot && device->snapshot)
		return -EBUSY;
	/* It was resized since. */
	if (member->snapshot && member->snapshot->sectors != member->sectors)
		return -EAGAIN;
	if (member->snapshot) {
		member->snapshot->own = tl_own_copy(device);
		if (IS_ERR(member->snapshot->own)) {
			member->snapshot->own = NULL;
			return -ENOMEM;
		}
	}
	blocks = tl_device_blocks(device, member->sectors);
	if (device->frozen)
		return_frozen(device);
	member->next = empty_map(device, blocks);
	if (!member->next)
		return -ENOMEM;
	if (blocks > device->present->blocks || member->sectors > device->sectors) {
		member->grown = tl_map_create(blocks);
		if (!member->grown)
			return -ENOMEM;
	}
	if (!tl_hook_is_alive(member->opened.bdev)) {
		pr_err_ratelimited("%pg: ftrace does not call the hook any more\n",
				   member->opened.bdev);
		if (device->trust != TOWLINE_TRUST_UNKNOWN)
			tl_event(TOWLINE_EVENT_TRUST_LOST, &device->uuid, 0, 0);
		device->trust = TOWLINE_TRUST_UNKNOWN;
		device->reasons |= TOWLINE_REASON_HOOK_LOST;
		tl_intent_doubt(device, -EIO);
	}
	return 0;
}

static void open_gates(const struct member *members, u32 count)
{
	while (count--)
		tl_gate_open(members[count].device);
}

/*
 * Gates are closed one by one, each drained before the next: a write that an upper device has in
 * flight still has to pass the gate of the lower one.
 */
static int close_gates(const struct member *members, u32 count, unsigned long timeout)
{
	unsigned long deadline = jiffies + timeout;
	u32 closed;

	for (closed = 0; closed < count; closed++) {
		long left = (long)(deadline - jiffies);

		tl_gate_close(members[closed].device);
		if (left <= 0 || !tl_writes_drain(members[closed].device, left)) {
			open_gates(members, closed + 1);
			return -ETIMEDOUT;
		}
	}
	return 0;
}

/*
 * What the device grew by is marked as a whole: in the epoch that ends, since it is news, and in
 * the one that begins, since what was in flight to it was noted by a size that did not hold it.
 */
static void switch_size(struct member *member, struct tl_map **ended)
{
	struct tl_device *device = member->device;
	u64 first = device->sectors >> device->block_shift;
	u64 last = tl_device_blocks(device, member->sectors) - 1;

	if (member->sectors < device->sectors) {
		device->reasons_frozen |= TOWLINE_REASON_SHRANK;
		tl_intent_doubt(device, -ERANGE);
	}
	if (member->grown) {
		tl_map_merge(member->grown, *ended);
		tl_map_mark(member->grown, first, last);
		tl_map_mark(device->present, first, last);
		tl_map_put(*ended);
		*ended = member->grown;
		member->grown = NULL;
		device->reasons |= TOWLINE_REASON_GREW;
		device->reasons_frozen |= TOWLINE_REASON_GREW;
		device->trust = TOWLINE_TRUST_SUPERSET;
		device->trust_frozen = max_t(u32, device->trust_frozen, TOWLINE_TRUST_SUPERSET);
	}
	device->sectors = member->sectors;
	if (device->end != ~(sector_t)0)
		WRITE_ONCE(device->end, device->first + member->sectors);
}

/* Gates may be closed: no memory is asked for. */
static void switch_epoch(struct member *member)
{
	struct tl_device *device = member->device;
	struct tl_map *ended = device->present;

	tl_writes_switch(device, member->next);
	member->next = NULL;
	tl_own_mark(device);
	device->reasons_frozen = device->reasons;
	device->trust_frozen = device->trust;
	device->reasons = 0;
	device->trust = TOWLINE_TRUST_EXACT;
	if (member->sectors != device->sectors)
		switch_size(member, &ended);
	device->frozen = ended;
	if (member->snapshot) {
		member->snapshot->sequence = device->sequence;
		tl_snapshot_arm(device, member->snapshot);
	}
	device->sequence++;
}

static void describe(const struct member *member, struct towline_epoch *epoch)
{
	const struct tl_device *device = member->device;

	epoch->sequence = device->sequence - 1;
	epoch->device_bytes = (u64)device->sectors << SECTOR_SHIFT;
	epoch->blocks = tl_device_blocks(device, device->sectors);
	epoch->blocks_changed = tl_map_count(device->frozen, epoch->blocks);
	epoch->block_size = 1U << (device->block_shift + SECTOR_SHIFT);
	epoch->trust = device->trust_frozen;
	epoch->reasons = device->reasons_frozen;
}

/*
 * All or none. The images come after the gates are open: adding a disk allocates, and reads it.
 * Should one fail, the epochs stay frozen, as if the caller had died: the next freeze holds them.
 */
static int show_images(struct member *members, struct towline_snapshot *snapshots, u32 count)
{
	int error = 0;
	u32 i;

	for (i = 0; i < count && !error; i++) {
		struct tl_snapshot *snapshot = members[i].snapshot;

		error = tl_image_create(snapshot);
		if (error)
			break;
		snapshots[i].index = snapshot->index;
		snapshots[i].major = snapshot->disk->major;
		snapshots[i].minor = snapshot->disk->first_minor;
	}
	for (i = 0; i < count && error; i++)
		tl_device_drop_snapshot(members[i].device);
	return error;
}

static int find_members(struct member *members, const struct tl_freeze *freeze)
{
	u32 i;

	for (i = 0; i < freeze->count; i++) {
		members[i].device = tl_device_find((const uuid_t *)&freeze->epochs[i].uuid);
		if (!members[i].device)
			return -ENOENT;
	}
	return check_group(members, freeze->count, freeze->flags);
}

/* Under tl_lock, with every device of the group open. */
static int freeze_opened(struct member *members, struct tl_freeze *freeze)
{
	unsigned long timeout = msecs_to_jiffies(freeze->timeout_ms ?: TIMEOUT_MS_DEFAULT);
	ktime_t closed;
	int error;
	u32 i;

	error = find_members(members, freeze);
	for (i = 0; i < freeze->count && !error; i++)
		error = prepare(&members[i]);
	if (error)
		return error;

	closed = ktime_get();
	if (freeze->flags & TOWLINE_FREEZE_DRAIN) {
		error = close_gates(members, freeze->count, timeout);
		if (error)
			return error;
	}
	for (i = 0; i < freeze->count; i++)
		switch_epoch(&members[i]);
	if (freeze->flags & TOWLINE_FREEZE_DRAIN) {
		open_gates(members, freeze->count);
		freeze->held_us = min_t(s64, ktime_us_delta(ktime_get(), closed), U32_MAX);
	}
	for (i = 0; i < freeze->count; i++)
		describe(&members[i], &freeze->epochs[i]);
	return freeze->snapshots ? show_images(members, freeze->snapshots, freeze->count) : 0;
}

int tl_epochs_freeze(struct tl_freeze *freeze)
{
	struct member *members = kcalloc(freeze->count, sizeof(*members), GFP_KERNEL);
	u32 opened;
	int error = 0;

	if (!members)
		return -ENOMEM;
	for (opened = 0; opened < freeze->count && !error; opened += !error)
		error = member_open(&members[opened],
				    (const uuid_t *)&freeze->epochs[opened].uuid,
				    freeze->snapshots ? &freeze->snapshots[opened] : NULL);
	if (!error) {
		mutex_lock(&tl_lock);
		error = freeze_opened(members, freeze);
		mutex_unlock(&tl_lock);
	}
	while (opened--)
		member_close(&members[opened]);
	kfree(members);
	return error;
}

/*
 * Both ends of an epoch can be asked for again, by one who died before the answer came. The
 * opposite of what was done is refused.
 */
int tl_epoch_commit(struct tl_device *device, u64 sequence)
{
	if (!sequence || sequence >= device->sequence)
		return -EINVAL;
	if (device->frozen && sequence == device->sequence - 1) {
		retire_frozen(device);
		device->sequence_committed = sequence;
		return 0;
	}
	return sequence <= device->sequence_committed ? 0 : -ESTALE;
}

int tl_epoch_give_back(struct tl_device *device, u64 sequence)
{
	if (!sequence || sequence >= device->sequence)
		return -EINVAL;
	if (device->frozen && sequence == device->sequence - 1) {
		return_frozen(device);
		return 0;
	}
	return sequence <= device->sequence_committed ? -ESTALE : 0;
}
