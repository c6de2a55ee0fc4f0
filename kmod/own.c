// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which blocks of tracked devices are ours. See own.h.
 *
 * Every set of blocks that is ours is in one list; each tracked device has an array of its own made
 * of it, which writes look at under RCU. A write that lies within is not noted: its content means
 * nothing to the volume.
 *
 * What a consumer reads of such blocks is zero while they are ours, and what is on the disk before
 * and afterwards. So they are marked as changed in every epoch in which they are ours for a while,
 * and their regions are in the intent log: nothing can be dropped, or cool, that the next reader
 * finds otherwise.
 *
 * A device whose snapshot stands can't be given to a store: its image shows what is in those blocks,
 * and has no copy of it. A snapshot that is taken later knows them to be zero, for as long as it
 * stands. So a write that is not noted never needs to be copied.
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include "intent.h"
#include "own.h"
#include "record.h"
#include "snapshot.h"

struct tl_own_ranges {
	struct list_head list; /* in sets, under tl_lock */
	const struct gendisk *disk;
	u64 diskseq;
	u32 count;
	struct tl_own_range ranges[]; /* on the disk */
};

static LIST_HEAD(sets);

static bool clip(const struct tl_device *device, const struct tl_own_ranges *set, u32 index,
		 struct tl_own_range *range)
{
	if (set->disk != device->disk || set->diskseq != device->diskseq)
		return false;
	range->first = max(set->ranges[index].first, device->first);
	range->end = min(set->ranges[index].end, device->end);
	if (range->first >= range->end)
		return false;
	range->first -= device->first;
	range->end -= device->first;
	return true;
}

static int compare(const void *a, const void *b)
{
	const struct tl_own_range *one = a, *other = b;

	return one->first < other->first ? -1 : one->first > other->first;
}

/* Neighbours become one, so that a write over both lies within one. */
static void join(struct tl_own *own)
{
	u32 i, last = 0;

	sort(own->ranges, own->count, sizeof(*own->ranges), compare, NULL);
	for (i = 1; i < own->count; i++) {
		if (own->ranges[i].first <= own->ranges[last].end)
			own->ranges[last].end = max(own->ranges[last].end, own->ranges[i].end);
		else
			own->ranges[++last] = own->ranges[i];
	}
	own->count = own->count ? last + 1 : 0;
}

/* NULL: nothing is. Under tl_lock. */
static struct tl_own *gather(const struct tl_device *device)
{
	struct tl_own_range range;
	struct tl_own_ranges *set;
	struct tl_own *own;
	size_t count = 0;
	u32 i;

	list_for_each_entry(set, &sets, list) {
		for (i = 0; i < set->count; i++)
			count += clip(device, set, i, &range);
	}
	if (!count)
		return NULL;
	own = kvzalloc(struct_size(own, ranges, count), GFP_KERNEL);
	if (!own)
		return ERR_PTR(-ENOMEM);
	list_for_each_entry(set, &sets, list) {
		for (i = 0; i < set->count; i++) {
			if (clip(device, set, i, &range))
				own->ranges[own->count++] = range;
		}
	}
	join(own);
	return own;
}

static void replace(struct tl_device *device, struct tl_own *own)
{
	struct tl_own *old = rcu_dereference_protected(device->own, lockdep_is_held(&tl_lock));

	rcu_assign_pointer(device->own, own);
	if (old)
		kvfree_rcu(old, rcu);
}

/* Under tl_lock, gates may be closed. */
void tl_own_mark(const struct tl_device *device)
{
	const struct tl_own *own = rcu_dereference_protected(device->own,
							     lockdep_is_held(&tl_lock));
	u32 i;

	for (i = 0; own && i < own->count; i++)
		tl_map_mark(device->present, own->ranges[i].first >> device->block_shift,
			    (own->ranges[i].end - 1) >> device->block_shift);
}

#define HEAT_AT_ONCE (SZ_1G >> SECTOR_SHIFT)

/* Has their regions in the intent log. Cooling waits for tl_lock, and finds marks. */
static void heat(struct tl_device *device, const struct tl_own *own)
{
	sector_t at;
	u32 i;

	for (i = 0; own && i < own->count; i++) {
		for (at = own->ranges[i].first; at < own->ranges[i].end; at += HEAT_AT_ONCE)
			tl_intent_make_way(device, at, min_t(sector_t, HEAT_AT_ONCE,
							     own->ranges[i].end - at));
	}
}

/* Whether the image of a snapshot of the device needs what is in the set's blocks. */
static bool is_needed(const struct tl_device *device, const struct tl_own_ranges *set)
{
	struct tl_own_range range;
	u32 i;

	for (i = 0; device->snapshot && i < set->count; i++) {
		if (clip(device, set, i, &range) &&
		    !tl_own_holds(device->snapshot->own, range.first, range.end - range.first))
			return true;
	}
	return false;
}

/* Under tl_lock. The sets changed: they have one more, or one less. */
static int update(void)
{
	struct tl_device *device;
	int error = 0;

	list_for_each_entry(device, &tl_devices, list) {
		struct tl_own *own = gather(device);

		if (IS_ERR(own)) {
			/* More is noted than needs to be, which harms nobody; less would. */
			error = PTR_ERR(own);
			own = NULL;
		}
		heat(device, own);
		replace(device, own);
		tl_own_mark(device);
	}
	return error;
}

static int enter(struct tl_own_ranges *set)
{
	const struct tl_device *device;

	list_for_each_entry(device, &tl_devices, list) {
		if (is_needed(device, set))
			return -EBUSY;
	}
	list_add(&set->list, &sets);
	return update();
}

/* From here on the extents are ours, on whatever tracked device they lie. */
struct tl_own_ranges *tl_own_add(const struct tl_extents *extents)
{
	const struct block_device *bdev = extents->opened.bdev;
	struct tl_own_ranges *set;
	int error;
	u32 i;

	set = kvzalloc(struct_size(set, ranges, extents->count), GFP_KERNEL);
	if (!set)
		return ERR_PTR(-ENOMEM);
	INIT_LIST_HEAD(&set->list);
	set->disk = bdev->bd_disk;
	set->diskseq = bdev->bd_disk->diskseq;
	set->count = extents->count;
	for (i = 0; i < set->count; i++) {
		set->ranges[i].first = bdev->bd_start_sect + extents->list[i].first;
		set->ranges[i].end = set->ranges[i].first + extents->list[i].sectors;
	}
	mutex_lock(&tl_lock);
	error = enter(set);
	mutex_unlock(&tl_lock);
	if (!error)
		return set;
	tl_own_remove(set);
	return ERR_PTR(error);
}

/* Nothing is written there for us any more. */
void tl_own_remove(struct tl_own_ranges *set)
{
	if (IS_ERR_OR_NULL(set))
		return;
	mutex_lock(&tl_lock);
	list_del(&set->list);
	update();
	mutex_unlock(&tl_lock);
	kvfree(set);
}

/* Before the device is in the filter's table. Under tl_lock. */
int tl_own_attach(struct tl_device *device)
{
	struct tl_own *own = gather(device);

	if (IS_ERR(own))
		return PTR_ERR(own);
	replace(device, own);
	return 0;
}

/* The device is tracked from here on. Under tl_lock. */
void tl_own_begin(struct tl_device *device)
{
	heat(device, rcu_dereference_protected(device->own, lockdep_is_held(&tl_lock)));
	tl_own_mark(device);
}

static struct tl_own *with_log(const struct tl_own *own, const struct towline_extent *list, u32 count)
{
	u32 i, known = own ? own->count : 0;
	struct tl_own *both;

	if (!known && !count)
		return NULL;
	both = kvzalloc(struct_size(both, ranges, (size_t)known + count), GFP_KERNEL);
	if (!both)
		return ERR_PTR(-ENOMEM);
	if (known)
		memcpy(both->ranges, own->ranges, known * sizeof(*both->ranges));
	for (i = 0; i < count; i++) {
		both->ranges[known + i].first = list[i].first_sector;
		both->ranges[known + i].end = list[i].first_sector + list[i].sectors;
	}
	both->count = known + count;
	join(both);
	return both;
}

/*
 * What is ours of the device now, its intent log among it, for a snapshot to keep; freed by kvfree().
 * Under tl_lock.
 */
struct tl_own *tl_own_copy(const struct tl_device *device)
{
	const struct tl_own *own = rcu_dereference_protected(device->own,
							     lockdep_is_held(&tl_lock));
	struct towline_extent *list;
	struct tl_own *both;
	u32 count;

	if (!tl_record_own_list(device, &list, &count))
		return ERR_PTR(-ENOMEM);
	both = with_log(own, list, count);
	kvfree(list);
	return both;
}

/* The first range that ends behind this sector. NULL: none does. */
const struct tl_own_range *tl_own_next(const struct tl_own *own, sector_t first)
{
	u32 low = 0, high = own ? own->count : 0;

	while (low < high) {
		u32 middle = low + (high - low) / 2;

		if (own->ranges[middle].end <= first)
			low = middle + 1;
		else
			high = middle;
	}
	return own && low < own->count ? &own->ranges[low] : NULL;
}

bool tl_own_holds(const struct tl_own *own, sector_t first, u64 sectors)
{
	const struct tl_own_range *range = tl_own_next(own, first);

	return range && range->first <= first && first + sectors <= range->end;
}
