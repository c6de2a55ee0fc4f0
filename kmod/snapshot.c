// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copy-on-write: a chunk's old content is in the store before the first write to it is let on.
 *
 * A snapshot is armed while its device's gate is closed and nothing is in flight. From then on a
 * write is listed (write.c) only if all of its chunks are kept; that is looked at in the section
 * under the slot's lock in which the gate is looked at, so no write slips by between an open gate
 * and an armed snapshot. Any other write is held; the device's worker reads the chunks, keeps them,
 * and submits it again (filter.c).
 *
 * While the worker reads a chunk nobody writes to it: what came before was drained, what comes
 * after is held until the chunk is kept. Who reads the image looks at the bit after its own read: a
 * write that changed what was read was let on after the bit was set.
 *
 * Whatever goes wrong (the store is full, the read fails) makes the snapshot fail: its error is set
 * first, then writes go on without being copied, and the image gives EIO. So a write never fails
 * for the snapshot's sake, and waits for no more than one read of each of its chunks and of those
 * of writes before it in line.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/log2.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "events.h"
#include "filter.h"
#include "image.h"
#include "snapshot.h"
#include "write.h"

#define CHUNK_SIZE_DEFAULT SZ_64K
#define CLONES_RESERVED 16
#define FREE_TIMEOUT (30 * HZ)

/* Freeing sleeps, and the last reference may be an interrupt's. */
static struct workqueue_struct *free_queue;

/* Those that are not freed, for who deletes one and for rmmod to wait for. */
static LIST_HEAD(alive);
static u64 next_number = 1;
static DEFINE_SPINLOCK(alive_lock);
static DECLARE_WAIT_QUEUE_HEAD(freed);

static void snapshot_free(struct tl_snapshot *snapshot)
{
	if (snapshot->origin.bdev)
		tl_bdev_close(&snapshot->origin);
	bioset_exit(&snapshot->clones);
	bioset_exit(&snapshot->fetches);
	tl_transfer_finish(&snapshot->transfer);
	tl_store_destroy(snapshot->store);
	kvfree(snapshot->own);
	vfree(snapshot->kept);
	kfree(snapshot->vectors);
	spin_lock(&alive_lock);
	list_del(&snapshot->list);
	spin_unlock(&alive_lock);
	kfree(snapshot);
	wake_up(&freed);
}

/* Whether that one is, or any if it is 0. */
static bool is_alive(u64 number)
{
	const struct tl_snapshot *snapshot;
	bool found = false;

	spin_lock(&alive_lock);
	list_for_each_entry(snapshot, &alive, list)
		found = found || !number || snapshot->number == number;
	spin_unlock(&alive_lock);
	return found;
}

static void free_work(struct work_struct *work)
{
	snapshot_free(container_of(work, struct tl_snapshot, free_work));
}

static void release(struct kref *ref)
{
	struct tl_snapshot *snapshot = container_of(ref, struct tl_snapshot, ref);

	queue_work(free_queue, &snapshot->free_work);
}

void tl_snapshot_get(struct tl_snapshot *snapshot)
{
	kref_get(&snapshot->ref);
}

void tl_snapshot_put(struct tl_snapshot *snapshot)
{
	if (snapshot)
		kref_put(&snapshot->ref, release);
}

static int check_chunk_size(u32 chunk_size)
{
	if (!is_power_of_2(chunk_size) || chunk_size < TOWLINE_CHUNK_SIZE_MIN ||
	    chunk_size < PAGE_SIZE || chunk_size > TOWLINE_CHUNK_SIZE_MAX)
		return -EINVAL;
	return 0;
}

/* A part for a store as a program asks for it, in the words of towline.h. */
struct tl_store_part *tl_snapshot_part(const struct tl_store *store, u32 flags, u64 bytes, int fd,
				       const struct towline_uuid *id)
{
	if (flags & ~TOWLINE_STORE_FILE)
		return ERR_PTR(-EINVAL);
	return flags & TOWLINE_STORE_FILE ? tl_store_part_of_file(store, fd, bytes, id) :
					    tl_store_part_of_memory(store, bytes);
}

/* A device, rather than a file on one, that is the origin or a part of it, or that it is a part of. */
static bool is_origin(const struct tl_snapshot *snapshot, const struct tl_store_part *part)
{
	const struct block_device *origin = snapshot->origin.bdev, *bdev;

	if (!part->extents || part->extents->file)
		return false;
	bdev = part->extents->opened.bdev;
	return bdev->bd_disk == origin->bd_disk &&
	       bdev->bd_start_sect < origin->bd_start_sect + snapshot->sectors &&
	       origin->bd_start_sect < bdev->bd_start_sect + part->extents->sectors;
}

/* Takes the part over, if it succeeds. Under tl_lock, or before the snapshot is armed. */
int tl_snapshot_grow(struct tl_snapshot *snapshot, struct tl_store_part *part)
{
	int error = 0;

	if (is_origin(snapshot, part))
		return -EINVAL;
	if (part->extents)
		error = tl_transfer_prepare(&snapshot->transfer, snapshot->store->chunk_bytes);
	error = error ?: tl_store_add_part(snapshot->store, part);
	if (!error)
		tl_fill_grow(&snapshot->fill, part->places);
	return error;
}

static int fill_store(struct tl_snapshot *snapshot, const struct towline_snapshot *wanted)
{
	struct tl_store_part *part = tl_snapshot_part(snapshot->store, wanted->store_flags,
						      wanted->store_bytes, wanted->store_fd,
						      &wanted->store_id);
	int error;

	if (IS_ERR(part))
		return PTR_ERR(part);
	error = tl_snapshot_grow(snapshot, part);
	if (error)
		tl_store_part_free(part);
	return error;
}

/* All that a snapshot needs, before a gate is closed for it. Takes over the opened origin. */
static int fill(struct tl_snapshot *snapshot, const struct towline_snapshot *wanted, u32 chunk_size)
{
	int error;

	snapshot->chunk_shift = ilog2(chunk_size) - SECTOR_SHIFT;
	snapshot->sectors = bdev_nr_sectors(snapshot->origin.bdev);
	snapshot->chunks = DIV_ROUND_UP_ULL(snapshot->sectors, 1ULL << snapshot->chunk_shift);
	snapshot->kept = vzalloc(BITS_TO_LONGS(snapshot->chunks) * sizeof(long));
	snapshot->vectors = kcalloc(chunk_size / PAGE_SIZE, sizeof(*snapshot->vectors),
				    GFP_KERNEL);
	snapshot->store = tl_store_create(chunk_size);
	if (!snapshot->kept || !snapshot->vectors || !snapshot->store)
		return -ENOMEM;
	tl_fill_begin(&snapshot->fill, ktime_get_ns());
	error = bioset_init(&snapshot->clones, CLONES_RESERVED, tl_image_front_pad(), 0);
	error = error ?: bioset_init(&snapshot->fetches, CLONES_RESERVED, 0, 0);
	return error ?: fill_store(snapshot, wanted);
}

struct tl_snapshot *tl_snapshot_create(const struct tl_place *place, const uuid_t *uuid,
				       const struct towline_snapshot *wanted)
{
	u32 chunk_size = wanted->chunk_size ?: CHUNK_SIZE_DEFAULT;
	struct tl_snapshot *snapshot;
	int error;

	error = check_chunk_size(chunk_size);
	if (error)
		return ERR_PTR(error);
	snapshot = kzalloc(sizeof(*snapshot), GFP_KERNEL);
	if (!snapshot)
		return ERR_PTR(-ENOMEM);
	kref_init(&snapshot->ref);
	spin_lock(&alive_lock);
	snapshot->number = next_number++;
	list_add(&snapshot->list, &alive);
	spin_unlock(&alive_lock);
	snapshot->uuid = *uuid;
	snapshot->fill.notify_percent = wanted->notify_percent;
	snapshot->fill.notify_seconds = wanted->notify_seconds;
	INIT_WORK(&snapshot->free_work, free_work);
	error = tl_place_open(place, &snapshot->origin);
	if (error)
		snapshot->origin.bdev = NULL;
	else
		error = fill(snapshot, wanted, chunk_size);
	if (error) {
		snapshot_free(snapshot);
		return ERR_PTR(error);
	}
	return snapshot;
}

/* The gate is closed and nothing in flight; opening it shows the snapshot to every writer. */
void tl_snapshot_arm(struct tl_device *device, struct tl_snapshot *snapshot)
{
	tl_snapshot_get(snapshot);
	WRITE_ONCE(device->snapshot, snapshot);
}

/*
 * Writes go on without being copied, and reads of the image that are still under way fail. Those
 * who look at the snapshot without a reference do so under a slot's lock.
 */
void tl_snapshot_disarm(struct tl_device *device)
{
	struct tl_snapshot *snapshot = device->snapshot;

	cmpxchg(&snapshot->error, 0, -ESHUTDOWN);
	raw_spin_lock_irq(&device->held_lock);
	WRITE_ONCE(device->snapshot, NULL);
	raw_spin_unlock_irq(&device->held_lock);
	tl_writes_visit(device);
	tl_filter_kick(device);
	tl_snapshot_put(snapshot);
}

static struct tl_snapshot *get_armed(struct tl_device *device)
{
	struct tl_snapshot *snapshot;

	raw_spin_lock_irq(&device->held_lock);
	snapshot = device->snapshot;
	if (snapshot)
		tl_snapshot_get(snapshot);
	raw_spin_unlock_irq(&device->held_lock);
	return snapshot;
}

static void fail(struct tl_snapshot *snapshot, int error)
{
	if (cmpxchg(&snapshot->error, 0, error))
		return;
	pr_warn("%pg: the snapshot failed (error %d); writes go on\n", snapshot->origin.bdev,
		error);
	tl_event(TOWLINE_EVENT_SNAPSHOT_FAILED, &snapshot->uuid, error, 0);
}

/* A chunk more was kept: tells what of that was to be told. */
static void tell_fill(struct tl_snapshot *snapshot, u64 now)
{
	struct tl_fill *fill = &snapshot->fill;
	unsigned int tell = tl_fill_add(fill, now);

	if (tell & TL_FILL_TELL_PERCENT)
		tl_event(TOWLINE_EVENT_SNAPSHOT_FILL, &snapshot->uuid, 0,
			 (fill->most - fill->stored) << (snapshot->chunk_shift + SECTOR_SHIFT));
	if (tell & TL_FILL_TELL_SECONDS)
		tl_event(TOWLINE_EVENT_SNAPSHOT_FORECAST, &snapshot->uuid, 0,
			 tl_fill_seconds(fill, now));
}

/* Whether a write to these sectors of the device can go on. Called under a slot's lock. */
bool tl_snapshot_admits(const struct tl_snapshot *snapshot, sector_t first, u32 sectors)
{
	u64 chunk, last;

	/* What the device grew by is not part of the snapshot. */
	if (READ_ONCE(snapshot->error) || first >= snapshot->sectors)
		return true;
	chunk = first >> snapshot->chunk_shift;
	last = (min(first + sectors, snapshot->sectors) - 1) >> snapshot->chunk_shift;
	return find_next_zero_bit(snapshot->kept, last + 1, chunk) > last;
}

static int read_origin(struct tl_snapshot *snapshot, u64 chunk, struct page **pages)
{
	sector_t first = chunk << snapshot->chunk_shift;
	size_t bytes = min_t(u64, 1ULL << snapshot->chunk_shift, snapshot->sectors - first)
		       << SECTOR_SHIFT;
	unsigned int i;
	int error;

	bio_init(&snapshot->read, snapshot->origin.bdev, snapshot->vectors,
		 snapshot->store->chunk_bytes / PAGE_SIZE, REQ_OP_READ | REQ_SYNC);
	snapshot->read.bi_iter.bi_sector = first;
	for (i = 0; bytes; i++) {
		size_t part = min_t(size_t, bytes, PAGE_SIZE);

		__bio_add_page(&snapshot->read, pages[i], part, 0);
		bytes -= part;
	}
	error = submit_bio_wait(&snapshot->read);
	bio_uninit(&snapshot->read);
	return error;
}

static int keep(struct tl_snapshot *snapshot, u64 chunk)
{
	struct tl_store_place place;
	int error;

	if (!tl_store_room(snapshot->store, &place))
		return -ENOSPC;
	if (place.part->pages) {
		error = read_origin(snapshot, chunk, tl_store_pages(snapshot->store, &place));
	} else {
		tl_transfer_look(snapshot, &place);
		error = read_origin(snapshot, chunk, snapshot->transfer.old);
		error = tl_transfer_keep(snapshot, &place, error);
	}
	if (error)
		return error;
	tl_store_add(&place, chunk);
	/* In the store before it is said to be: a reader that sees the bit finds the chunk. */
	smp_mb__before_atomic();
	set_bit(chunk, snapshot->kept);
	return 0;
}

static void count_copy(struct tl_device *device, struct tl_snapshot *snapshot, u64 began)
{
	u64 now = ktime_get_ns();

	device->copies++;
	tl_latency_add(&device->copy_times, now - began, 1);
	tell_fill(snapshot, now);
}

/*
 * By the device's worker: keeps what stands in the way of a write to these sectors. True: something
 * did, and does no more. False: the write waits for something else.
 */
bool tl_snapshot_make_way(struct tl_device *device, sector_t first, u32 sectors)
{
	struct tl_snapshot *snapshot = get_armed(device);
	u64 chunk, last, began;
	int error = 0;
	bool in_way;

	if (!snapshot)
		return false;
	in_way = !tl_snapshot_admits(snapshot, first, sectors);
	if (in_way) {
		chunk = first >> snapshot->chunk_shift;
		last = (min(first + sectors, snapshot->sectors) - 1) >> snapshot->chunk_shift;
		for (; chunk <= last && !error; chunk++) {
			if (test_bit(chunk, snapshot->kept))
				continue;
			began = ktime_get_ns();
			error = keep(snapshot, chunk);
			if (!error)
				count_copy(device, snapshot, began);
		}
		if (error)
			fail(snapshot, error);
		device->copy_waits++;
	}
	tl_snapshot_put(snapshot);
	return in_way;
}

int tl_snapshots_init(void)
{
	free_queue = alloc_workqueue("towline-free", WQ_UNBOUND, 0);
	return free_queue ? 0 : -ENOMEM;
}

/*
 * It was let go of; a read of its image or a copy may still be at it. When this returns its file can
 * be had again, unless the store does not answer or the caller was told to stop waiting.
 */
void tl_snapshot_wait_freed(u64 number)
{
	wait_event_interruptible_timeout(freed, !is_alive(number), FREE_TIMEOUT);
}

/*
 * No device, image or read of an image is left. A store that does not answer may still hold a
 * snapshot; its bio's completion may be on its way out of this module when that is gone.
 */
void tl_snapshots_exit(void)
{
	wait_event(freed, !is_alive(0));
	synchronize_rcu();
	synchronize_rcu_tasks();
	destroy_workqueue(free_queue);
}
