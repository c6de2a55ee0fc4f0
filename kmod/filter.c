// SPDX-License-Identifier: GPL-2.0-only
/*
 * What becomes of a write that the hook saw: it is noted with every tracked device that it touches,
 * or it is held until that can be done.
 *
 * Devices are found by the disk that the bio is for, in a hash table under RCU: what a write costs
 * does not depend on how many other devices are tracked, and no lock is shared between devices. A
 * disk and its partitions are one disk here. Sectors are those of the disk, whichever node the bio
 * came by, so a partition's tracker sees what is written through the disk's node and the other way
 * round.
 *
 * The hook must not sleep and can't fail, so a write that can't be noted now (the gate is closed, a
 * snapshot has to keep a chunk first, the intent log does not have its region yet, or there is no
 * memory at all) is taken from its submitter and
 * put in the device's line. A worker sees to what it waits for and submits it again. That serves a
 * bio with REQ_NOWAIT, too: its submitter does not wait. A write that comes later can overtake one
 * that is held; no one may rely on an order between writes of which neither is complete.
 *
 * What makes the line move, so that no bio is left in it:
 *
 *   - Who puts a bio in line queues the worker afterwards. Who opens the gate queues it after
 *     opening. So after the later of the two the worker looks at the line with the gate open.
 *   - Each device has a queue of its own, with a thread set aside for when there is no memory to
 *     make one: submitting a held bio to an upper device can wait for what a lower one holds.
 *   - Where memory was short the worker looks again at the next tick. A reserve that is used up is
 *     in flight, and comes back without the help of memory or of any other line.
 */
#include <linux/hash.h>
#include <linux/rculist.h>

#include "compat/workqueue.h"
#include "filter.h"
#include "intent.h"
#include "own.h"
#include "snapshot.h"
#include "write.h"

#define TABLE_BITS 7
#define WANTED_AT_ONCE 256 /* with interrupts off */

static struct hlist_head table[1 << TABLE_BITS];

static struct hlist_head *bucket_of(const struct gendisk *disk)
{
	return &table[hash_ptr(disk, TABLE_BITS)];
}

static void hold(struct tl_device *device, struct bio *bio)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&device->held_lock, flags);
	bio_list_add(&device->held, bio);
	device->held_count++;
	device->held_total++;
	tl_waits_enter(&device->waits, ktime_get_ns());
	raw_spin_unlock_irqrestore(&device->held_lock, flags);
}

/* The part of the bio that is the device's, in sectors of the device. False: none is. */
static bool is_touched(const struct tl_device *device, struct bio *bio, sector_t *first,
		       u32 *sectors)
{
	const struct gendisk *disk = bio->bi_bdev->bd_disk;
	sector_t from = bio->bi_iter.bi_sector;
	sector_t to;

	/* A disk that was freed can leave its address to another; never its diskseq. */
	if (device->disk != disk || device->diskseq != disk->diskseq)
		return false;
	/* Until it is remapped a bio counts from the start of its partition. */
	if (!bio_flagged(bio, BIO_REMAPPED))
		from += bio->bi_bdev->bd_start_sect;
	to = min(from + bio_sectors(bio), READ_ONCE(device->end));
	from = max(from, device->first);
	if (from >= to)
		return false;
	*first = from - device->first;
	*sectors = to - from;
	return true;
}

/* The device that can't note the bio now; NULL when all that it touches have. */
static struct tl_device *note(struct bio *bio)
{
	struct tl_device *device;
	sector_t first;
	u32 sectors;

	hlist_for_each_entry_rcu(device, bucket_of(bio->bi_bdev->bd_disk), node) {
		if (!is_touched(device, bio, &first, &sectors) ||
		    tl_write_is_noted(device, bio, first, sectors))
			continue;
		if (unlikely(device->intent) && tl_intent_is_own(device->intent, bio))
			continue;
		if (unlikely(rcu_access_pointer(device->own)) &&
		    tl_own_holds(rcu_dereference_sched(device->own), first, sectors))
			continue;
		if (unlikely(!tl_write_begin(device, bio, first, sectors)))
			return device;
		if (unlikely(device->intent) && tl_intent_is_superblock(device->intent, first))
			tl_intent_look(device->intent);
	}
	return NULL;
}

/*
 * True: the bio was taken and must not be touched any more. Never sleeps. A bio without data (a
 * flush) changes nothing and passes.
 */
bool tl_filter(struct bio *bio)
{
	struct tl_device *device;

	if (!bio_sectors(bio))
		return false;
	/* Preemption off is a reader's section to synchronize_rcu(), and costs two instructions. */
	rcu_read_lock_sched();
	device = note(bio);
	if (unlikely(device)) {
		hold(device, bio);
		tl_filter_kick(device);
	}
	rcu_read_unlock_sched();
	return device;
}

static struct bio *take_held(struct tl_device *device)
{
	struct bio *bio;

	raw_spin_lock_irq(&device->held_lock);
	bio = bio_list_pop(&device->held);
	if (bio)
		device->held_count--;
	raw_spin_unlock_irq(&device->held_lock);
	return bio;
}

static void put_back(struct tl_device *device, struct bio *bio)
{
	raw_spin_lock_irq(&device->held_lock);
	bio_list_add_head(&device->held, bio);
	device->held_count++;
	raw_spin_unlock_irq(&device->held_lock);
}

/* One write of the log serves all that wait; by the worker. */
void tl_filter_want_held(struct tl_device *device)
{
	unsigned int count = 0;
	struct bio *bio;
	sector_t first;
	u32 sectors;

	raw_spin_lock_irq(&device->held_lock);
	bio_list_for_each(bio, &device->held) {
		if (is_touched(device, bio, &first, &sectors))
			tl_intent_want(device->intent, first, sectors);
		if (++count == WANTED_AT_ONCE)
			break;
	}
	raw_spin_unlock_irq(&device->held_lock);
}

/* The bio that was taken last did not come back. */
static void count_wait(struct tl_device *device)
{
	raw_spin_lock_irq(&device->held_lock);
	tl_waits_leave(&device->waits, ktime_get_ns());
	raw_spin_unlock_irq(&device->held_lock);
}

/* The bio was in this device's line. False: it is again, and there is no use in going on. */
static bool send_on(struct tl_device *device, struct bio *bio)
{
	struct tl_device *blocking;
	sector_t first;
	u32 sectors;

	rcu_read_lock_sched();
	blocking = note(bio);
	if (blocking && blocking != device) {
		hold(blocking, bio);
		tl_filter_kick(blocking);
	}
	rcu_read_unlock_sched();
	if (blocking == device) {
		put_back(device, bio);
		/* It is at the head of the line, which only we take from. */
		if (is_touched(device, bio, &first, &sectors) &&
		    (tl_intent_make_way(device, first, sectors) ||
		     tl_snapshot_make_way(device, first, sectors)))
			return true;
		if (!READ_ONCE(device->gate_closed))
			queue_delayed_work(device->held_queue, &device->held_work, 1);
		return false;
	}
	count_wait(device);
	if (!blocking)
		submit_bio_noacct(bio);
	return true;
}

/*
 * A device that is no longer in the table notes nothing, so its line empties whatever its gate
 * says. The hook sees each bio again when it is submitted from here, and finds it noted.
 */
static void held_work(struct work_struct *work)
{
	struct tl_device *device = container_of(to_delayed_work(work), struct tl_device, held_work);
	struct bio *bio;

	do {
		bio = take_held(device);
	} while (bio && send_on(device, bio));
}

void tl_filter_kick(struct tl_device *device)
{
	mod_delayed_work(device->held_queue, &device->held_work, 0);
}

int tl_filter_prepare(struct tl_device *device)
{
	raw_spin_lock_init(&device->held_lock);
	bio_list_init(&device->held);
	INIT_DELAYED_WORK(&device->held_work, held_work);
	device->held_queue = alloc_workqueue("towline-held",
					     WQ_MEM_RECLAIM | WQ_HIGHPRI | TL_WQ_PERCPU, 1);
	return device->held_queue ? 0 : -ENOMEM;
}

/* The device was removed, its line is empty, and it is not kicked any more. */
void tl_filter_finish(struct tl_device *device)
{
	if (!device->held_queue)
		return;
	cancel_delayed_work_sync(&device->held_work);
	destroy_workqueue(device->held_queue);
}

void tl_filter_add(struct tl_device *device)
{
	hlist_add_head_rcu(&device->node, bucket_of(device->disk));
}

/* After it nobody looks the device up, and nobody who did is still at it. */
void tl_filter_remove(struct tl_device *device)
{
	hlist_del_rcu(&device->node);
	synchronize_rcu();
	tl_filter_kick(device);
}

/* The block device is being removed. */
void tl_filter_gone(struct block_device *bdev)
{
	struct tl_device *device;

	rcu_read_lock_sched();
	hlist_for_each_entry_rcu(device, bucket_of(bdev->bd_disk), node) {
		if (device->disk == bdev->bd_disk && device->diskseq == bdev->bd_disk->diskseq &&
		    device->number == bdev->bd_dev)
			tl_device_is_gone(device);
	}
	rcu_read_unlock_sched();
}

/* Whether the line is empty and the worker gone, for good when the device was removed. */
bool tl_filter_is_idle(struct tl_device *device)
{
	return !READ_ONCE(device->held_count) && !work_busy(&device->held_work.work);
}
