// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attaching a device, detaching it, and taking it down.
 *
 * Attaching. The device is entered in the filter's table, so from then on each write is noted. One
 * that was submitted before is not, and could land much later; so attaching ends when it is known
 * that these are complete, or fails. How that is known is told in settle.c.
 *
 * Detaching, and why nobody is left holding what is freed:
 *
 *   1. It leaves the filter's table, and RCU waits for those who had found it there: no write is
 *      begun, no bio put in its line any more.
 *   2. The line's worker finds that the device is in nobody's way, and submits what waits.
 *   3. Bios in flight still wear its writes. They complete when the disk completes them, which may
 *      take as long as the disk likes; nothing waits for it but the reaper, which looks again and
 *      again, and rmmod, which waits for the reaper.
 *   4. The line is empty, its worker idle, nothing in flight: RCU waits once more, for completions
 *      that took the last write off its list and still look at the device. Then it is freed.
 *   5. Maps that a program has mapped live on with the file.
 *
 * Removing the module does that for every device and then lets the last completion leave the
 * module's code: see tl_writes_exit().
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/log2.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "compat/bdev.h"
#include "device.h"
#include "events.h"
#include "filter.h"
#include "gone.h"
#include "hook.h"
#include "image.h"
#include "own.h"
#include "record.h"
#include "settle.h"
#include "snapshot.h"
#include "write.h"

/* See device.h. */
DEFINE_MUTEX(tl_lock);
LIST_HEAD(tl_devices);

/* Devices that are detached and not yet freed. */
static atomic_t leaving = ATOMIC_INIT(0);
static DECLARE_WAIT_QUEUE_HEAD(all_left);
static struct workqueue_struct *reap_queue;

#define REAP_DELAY (HZ / 20)

/* 2^20 blocks, 128 KiB a map, is what a map grows to before blocks do; 64 KiB from 32 GiB on. */
static u32 block_size_by(sector_t sectors)
{
	u64 bytes = (u64)sectors << SECTOR_SHIFT;

	if (bytes <= 4ULL << 30)
		return SZ_4K;
	if (bytes <= 32ULL << 30)
		return SZ_16K;
	if (bytes <= 64ULL << 40)
		return SZ_64K;
	return SZ_1M;
}

static int check_block_size(u32 block_size)
{
	if (!block_size)
		return 0;
	if (!is_power_of_2(block_size) || block_size < TOWLINE_BLOCK_SIZE_MIN ||
	    block_size > TOWLINE_BLOCK_SIZE_MAX)
		return -EINVAL;
	return 0;
}

/* What the hook can't see is refused, not tracked badly. */
static int check_kind(struct block_device *bdev)
{
	if (blk_queue_dax(bdev_get_queue(bdev))) {
		pr_err("%pg: DAX writes go past the block layer\n", bdev);
		return -EOPNOTSUPP;
	}
	if (bdev_is_zoned(bdev)) {
		pr_err("%pg: zoned devices are not supported\n", bdev);
		return -EOPNOTSUPP;
	}
	if (!bdev_nr_sectors(bdev))
		return -ENOMEDIUM;
	return 0;
}

static void tracked_free(struct tl_device *device)
{
	tl_filter_finish(device);
	tl_writes_destroy(device);
	tl_intent_free(device->intent);
	tl_map_put(device->present);
	tl_map_put(device->frozen);
	tl_map_put(device->spare);
	kvfree(rcu_access_pointer(device->own));
	kfree(device);
}

static void reap(struct work_struct *work)
{
	struct tl_device *device = container_of(to_delayed_work(work), struct tl_device, reap_work);

	if (!tl_filter_is_idle(device) || !tl_writes_none(device) ||
	    (device->intent && !tl_intent_is_idle(device->intent))) {
		queue_delayed_work(reap_queue, &device->reap_work, REAP_DELAY);
		return;
	}
	synchronize_rcu();
	tracked_free(device);
	if (atomic_dec_and_test(&leaving))
		wake_up(&all_left);
}

static struct tl_device *tracked_create(struct block_device *bdev, u32 block_size)
{
	struct tl_device *device = kzalloc(sizeof(*device), GFP_KERNEL);
	u64 blocks;

	if (!device)
		return NULL;
	device->disk = bdev->bd_disk;
	device->diskseq = bdev->bd_disk->diskseq;
	device->number = bdev->bd_dev;
	device->first = bdev->bd_start_sect;
	device->sectors = bdev_nr_sectors(bdev);
	/* A disk that grows is followed at once, what lies beyond its map is for the resize. */
	device->end = bdev_is_partition(bdev) ? device->first + device->sectors : ~(sector_t)0;
	device->block_shift = ilog2(block_size ?: block_size_by(device->sectors)) - SECTOR_SHIFT;
	device->sequence = 1;
	device->reasons = TOWLINE_REASON_FIRST;
	device->trust = TOWLINE_TRUST_EXACT;
	uuid_gen(&device->uuid);
	INIT_DELAYED_WORK(&device->reap_work, reap);

	blocks = tl_device_blocks(device, device->sectors);
	device->present = tl_map_create(blocks);
	device->spare = tl_map_create(blocks);
	if (!device->present || !device->spare || tl_filter_prepare(device) ||
	    tl_writes_create(device)) {
		tracked_free(device);
		return NULL;
	}
	return device;
}

static int check_free(const struct block_device *bdev)
{
	const struct tl_device *device;

	list_for_each_entry(device, &tl_devices, list) {
		if (device->disk == bdev->bd_disk && device->diskseq == bdev->bd_disk->diskseq &&
		    device->number == bdev->bd_dev)
			return -EEXIST;
	}
	return 0;
}

static int check_extents(const struct block_device *bdev, const struct tl_extents *extents,
			 const struct tl_device *device, const struct tl_extents *other)
{
	sector_t end = bdev->bd_start_sect + bdev_nr_sectors((struct block_device *)bdev);

	if (tl_extents_overlap(extents, other))
		return -EBUSY;
	if (tl_extents_lie_in(extents, device->disk, device->first, device->end) &&
	    tl_extents_lie_in(other, bdev->bd_disk, bdev->bd_start_sect, end))
		return -EDEADLK;
	return 0;
}

/* A log is of one device; and no two devices may wait for each other's. */
static int check_log(const struct block_device *bdev, const struct tl_extents *extents)
{
	const struct tl_device *device;
	int error = 0;

	list_for_each_entry(device, &tl_devices, list) {
		const struct tl_intent *intent = device->intent;

		if (!extents || !intent || error)
			continue;
		error = check_extents(bdev, extents, device, intent->log->extents);
		if (!error && intent->witness)
			error = check_extents(bdev, extents, device, intent->witness->extents);
	}
	return error;
}

/* The device, with its log if it is to have one; nothing is tracked yet. */
static struct tl_device *prepare(struct block_device *bdev, struct tl_attach *attach)
{
	u32 block_size = attach->block_size ?: block_size_by(bdev_nr_sectors(bdev));
	struct tl_intent *intent = NULL;
	struct tl_device *device;
	int error;

	if (attach->log) {
		error = check_log(bdev, attach->log->extents) ?:
			check_log(bdev, attach->log->witness);
		if (!error && attach->log->witness &&
		    tl_extents_overlap(attach->log->extents, attach->log->witness))
			error = -EINVAL;
		if (error)
			return ERR_PTR(error);
		intent = tl_record_open(attach->log, bdev_nr_sectors(bdev), block_size);
		if (IS_ERR(intent))
			return ERR_CAST(intent);
		block_size = tl_record_block_size(intent);
		if (attach->block_size && attach->block_size != block_size) {
			tl_intent_free(intent);
			return ERR_PTR(-EINVAL);
		}
	}
	device = tracked_create(bdev, block_size);
	if (!device) {
		tl_intent_free(intent);
		return ERR_PTR(-ENOMEM);
	}
	device->intent = intent;
	if (intent)
		intent->device = device;
	return device;
}

static int begin(struct tl_device *device, struct block_device *bdev, unsigned int timeout_ms)
{
	const char *why = "ftrace does not call the hook";
	int error = tl_hook_is_alive(bdev) ? 0 : -EIO;

	if (!error) {
		why = "writes begun before did not end in time";
		error = tl_settle(device, bdev, timeout_ms);
	}
	if (!error && device->intent) {
		why = "the intent log";
		error = tl_record_begin(device, bdev);
		tl_filter_kick(device);
	}
	if (error)
		pr_err("%pg: not attached: %s (error %d)\n", bdev, why, error);
	return error;
}

static int attach_opened(struct block_device *bdev, struct tl_attach *attach)
{
	struct tl_device *device;
	int error;

	error = check_kind(bdev) ?: check_free(bdev) ?: tl_gone_watch(bdev);
	if (error)
		return error;
	device = prepare(bdev, attach);
	if (IS_ERR(device))
		return PTR_ERR(device);
	error = tl_own_attach(device) ?: tl_hook_get();
	if (error) {
		tracked_free(device);
		return error;
	}
	list_add_tail(&device->list, &tl_devices);
	tl_filter_add(device);
	error = begin(device, bdev, attach->timeout_ms);
	if (error) {
		tl_device_detach(device);
		return error;
	}
	tl_own_begin(device);
	attach->uuid = device->uuid;
	attach->trust = device->trust;
	attach->reasons = device->reasons;
	pr_info("%pg: attached as %pU, blocks of %u KiB\n", bdev, &device->uuid,
		1U << (device->block_shift + SECTOR_SHIFT - 10));
	return 0;
}

int tl_device_attach(struct tl_attach *attach)
{
	struct tl_bdev opened;
	int error;

	error = check_block_size(attach->block_size);
	if (error)
		return error;
	/* It is open only while it is attached to, so that it stays the same disk meanwhile. */
	error = tl_bdev_open(&opened, attach->number);
	if (error)
		return error;
	if (attach->diskseq && attach->diskseq != opened.bdev->bd_disk->diskseq) {
		error = -ESTALE;
	} else {
		mutex_lock(&tl_lock);
		error = attach_opened(opened.bdev, attach);
		mutex_unlock(&tl_lock);
	}
	tl_bdev_close(&opened);
	return error;
}

/*
 * Under tl_lock. The image goes first: once writes are not copied any more it could only be read
 * wrongly.
 */
void tl_device_drop_snapshot(struct tl_device *device)
{
	if (!device->snapshot)
		return;
	tl_image_remove(device->snapshot);
	tl_snapshot_disarm(device);
}

/*
 * Under tl_lock. Returns at once, unless there is an intent log to bring to a clean end; what is
 * left to wait for then, the reaper waits for.
 */
void tl_device_detach(struct tl_device *device)
{
	tl_device_drop_snapshot(device);
	tl_record_end(device, true);
	list_del(&device->list);
	tl_filter_remove(device);
	tl_hook_put();
	atomic_inc(&leaving);
	queue_delayed_work(reap_queue, &device->reap_work, 0);
}

static void detach_all(void)
{
	struct tl_device *device, *next;

	mutex_lock(&tl_lock);
	list_for_each_entry_safe(device, next, &tl_devices, list)
		tl_device_detach(device);
	mutex_unlock(&tl_lock);
}

/* The machine goes down: what is attached stays so, with logs that are at a clean end. */
void tl_devices_end(void)
{
	struct tl_device *device;

	mutex_lock(&tl_lock);
	list_for_each_entry(device, &tl_devices, list)
		tl_record_end(device, false);
	mutex_unlock(&tl_lock);
}

/* Under tl_lock. */
struct tl_device *tl_device_find(const uuid_t *uuid)
{
	struct tl_device *device;

	list_for_each_entry(device, &tl_devices, list) {
		if (uuid_equal(&device->uuid, uuid))
			return device;
	}
	return NULL;
}

/* What is spent on a device beside what the writes in flight take. Under tl_lock. */
u64 tl_device_memory(const struct tl_device *device)
{
	const struct tl_map *maps[] = { device->present, device->frozen, device->spare };
	u64 bytes = sizeof(*device) + num_possible_cpus() * sizeof(struct tl_slot);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(maps); i++)
		bytes += maps[i] ? maps[i]->bytes : 0;
	return bytes;
}

/* Where a device is. Under tl_lock; what is done with it then needs no lock. */
struct tl_place tl_device_place(const struct tl_device *device)
{
	return (struct tl_place){
		.number = device->number,
		.diskseq = device->diskseq,
		.first = device->first,
	};
}

/*
 * Opens what is tracked there. -ENODEV: it is gone, or another device has its number. Opening can
 * wait for the disk, so neither tl_lock nor a closed gate is held here.
 */
int tl_place_open(const struct tl_place *place, struct tl_bdev *opened)
{
	if (tl_bdev_open(opened, place->number))
		return -ENODEV;
	if (opened->bdev->bd_disk->diskseq == place->diskseq &&
	    opened->bdev->bd_start_sect == place->first)
		return 0;
	tl_bdev_close(opened);
	return -ENODEV;
}

/* Told once, by whoever finds out. Needs no lock: the uuid stays. */
void tl_device_is_gone(struct tl_device *device)
{
	if (!xchg(&device->told_gone, 1))
		tl_event(TOWLINE_EVENT_GONE, &device->uuid, 0, 0);
}

/* Not under tl_lock: by one who found out without it. */
void tl_device_tell_gone(const uuid_t *uuid)
{
	struct tl_device *device;

	mutex_lock(&tl_lock);
	device = tl_device_find(uuid);
	if (device)
		tl_device_is_gone(device);
	mutex_unlock(&tl_lock);
}

int tl_devices_init(void)
{
	reap_queue = alloc_workqueue("towline-reap", WQ_UNBOUND, 0);
	return reap_queue ? 0 : -ENOMEM;
}

/* The module is about to go: detaches what is attached, and waits until all of it is freed. */
void tl_devices_exit(void)
{
	detach_all();
	wait_event(all_left, !atomic_read(&leaving));
	/* Its last work may still be on its way out of this module's code. */
	destroy_workqueue(reap_queue);
}
