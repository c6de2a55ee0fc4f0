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
 * The hook must not sleep and can't fail, so a write that can't be noted now (the gate is closed,
 * or there is no memory at all) is taken from its submitter and put in the device's line. A worker
 * submits it again. That serves a bio with REQ_NOWAIT, too: its submitter does not wait. A write
 * that comes later can overtake one that is held; no one may rely on an order between writes of
 * which neither is complete.
 *
 * What makes the line move, so that no bio is left in it:
 *
 *   - Who puts a bio in line queues the worker afterwards. Who opens the gate queues it after
 *     opening. So after the later of the two the worker looks at the line with the gate open.
 *   - Where memory was short the worker looks again at the next tick. A reserve that is used up is
 *     in flight, and comes back without the help of memory or of any other line.
 */
#include <linux/hash.h>
#include <linux/rculist.h>

#include "filter.h"
#include "write.h"

#define TABLE_BITS 7

static struct hlist_head table[1 << TABLE_BITS];
static struct workqueue_struct *held_queue;

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
	raw_spin_unlock_irqrestore(&device->held_lock, flags);
}

/* The device that can't note the bio now; NULL when all that it touches have. */
static struct tl_device *note(struct bio *bio)
{
	const struct gendisk *disk = bio->bi_bdev->bd_disk;
	sector_t first = bio->bi_iter.bi_sector;
	sector_t end = first + bio_sectors(bio);
	struct tl_device *device;

	hlist_for_each_entry_rcu(device, bucket_of(disk), node) {
		sector_t from, to;

		/* A disk that was freed can leave its address to another; never its diskseq. */
		if (device->disk != disk || device->diskseq != disk->diskseq)
			continue;
		/* Until it is remapped a bio counts from the start of its partition. */
		from = first;
		to = end;
		if (!bio_flagged(bio, BIO_REMAPPED)) {
			from += bio->bi_bdev->bd_start_sect;
			to += bio->bi_bdev->bd_start_sect;
		}
		from = max(from, device->first);
		to = min(to, device->end);
		if (from >= to)
			continue;
		from -= device->first;
		to -= device->first;
		if (tl_write_is_noted(device, bio, from, to - from))
			continue;
		if (unlikely(!tl_write_begin(device, bio, from, to - from)))
			return device;
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
	rcu_read_lock();
	device = note(bio);
	if (unlikely(device)) {
		hold(device, bio);
		tl_filter_kick(device);
	}
	rcu_read_unlock();
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

/*
 * A device that is no longer in the table notes nothing, so its line empties whatever its gate
 * says. The hook sees each bio again when it is submitted from here, and finds it noted.
 */
static void held_work(struct work_struct *work)
{
	struct tl_device *device = container_of(to_delayed_work(work), struct tl_device, held_work);
	struct tl_device *blocking;
	struct bio *bio;

	while ((bio = take_held(device))) {
		rcu_read_lock();
		blocking = note(bio);
		if (blocking && blocking != device) {
			hold(blocking, bio);
			tl_filter_kick(blocking);
		}
		rcu_read_unlock();
		if (!blocking) {
			submit_bio_noacct(bio);
		} else if (blocking == device) {
			put_back(device, bio);
			if (!READ_ONCE(device->gate_closed))
				queue_delayed_work(held_queue, &device->held_work, 1);
			return;
		}
	}
}

void tl_filter_kick(struct tl_device *device)
{
	mod_delayed_work(held_queue, &device->held_work, 0);
}

void tl_filter_prepare(struct tl_device *device)
{
	raw_spin_lock_init(&device->held_lock);
	bio_list_init(&device->held);
	INIT_DELAYED_WORK(&device->held_work, held_work);
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

/* Whether the line is empty and the worker gone, for good when the device was removed. */
bool tl_filter_is_idle(struct tl_device *device)
{
	return !READ_ONCE(device->held_count) && !work_busy(&device->held_work.work);
}

int tl_filter_init(void)
{
	held_queue = alloc_workqueue("towline-held", WQ_MEM_RECLAIM | WQ_HIGHPRI, 0);
	return held_queue ? 0 : -ENOMEM;
}

void tl_filter_exit(void)
{
	destroy_workqueue(held_queue);
}
