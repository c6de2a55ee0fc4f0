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

#include "filter.h"
#include "image.h"
#include "snapshot.h"
#include "write.h"

#define CHUNK_SIZE_DEFAULT SZ_64K
#define CLONES_RESERVED 16

/* Freeing sleeps, and the last reference may be an interrupt's. */
static struct workqueue_struct *free_queue;

static void snapshot_free(struct tl_snapshot *snapshot)
{
	if (snapshot->origin.bdev)
		tl_bdev_close(&snapshot->origin);
	bioset_exit(&snapshot->clones);
	tl_store_destroy(snapshot->store);
	vfree(snapshot->kept);
	kfree(snapshot->vectors);
	kvfree(snapshot->own);
	kfree(snapshot);
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

/* All that a snapshot needs, before a gate is closed for it. Takes over the opened origin. */
static int fill(struct tl_snapshot *snapshot, u64 store_bytes, u32 chunk_size)
{
	snapshot->chunk_shift = ilog2(chunk_size) - SECTOR_SHIFT;
	snapshot->sectors = bdev_nr_sectors(snapshot->origin.bdev);
	snapshot->chunks = DIV_ROUND_UP_ULL(snapshot->sectors, 1ULL << snapshot->chunk_shift);
	snapshot->kept = vzalloc(BITS_TO_LONGS(snapshot->chunks) * sizeof(long));
	snapshot->vectors = kcalloc(chunk_size / PAGE_SIZE, sizeof(*snapshot->vectors),
				    GFP_KERNEL);
	snapshot->store = tl_store_create(store_bytes, chunk_size);
	if (!snapshot->kept || !snapshot->vectors || !snapshot->store)
		return -ENOMEM;
	return bioset_init(&snapshot->clones, CLONES_RESERVED, tl_image_front_pad(), 0);
}

struct tl_snapshot *tl_snapshot_create(const struct tl_place *place, u64 store_bytes,
				       u32 chunk_size)
{
	struct tl_snapshot *snapshot;
	int error;

	chunk_size = chunk_size ?: CHUNK_SIZE_DEFAULT;
	error = check_chunk_size(chunk_size);
	if (error)
		return ERR_PTR(error);
	snapshot = kzalloc(sizeof(*snapshot), GFP_KERNEL);
	if (!snapshot)
		return ERR_PTR(-ENOMEM);
	kref_init(&snapshot->ref);
	INIT_WORK(&snapshot->free_work, free_work);
	error = tl_place_open(place, &snapshot->origin);
	if (error)
		snapshot->origin.bdev = NULL;
	else
		error = fill(snapshot, store_bytes, chunk_size);
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
	if (!cmpxchg(&snapshot->error, 0, error))
		pr_warn("%pg: the snapshot failed (error %d); writes go on\n",
			snapshot->origin.bdev, error);
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

static int keep(struct tl_snapshot *snapshot, u64 chunk)
{
	sector_t first = chunk << snapshot->chunk_shift;
	size_t bytes = min_t(u64, 1ULL << snapshot->chunk_shift, snapshot->sectors - first)
		       << SECTOR_SHIFT;
	struct page **pages = tl_store_room(snapshot->store);
	unsigned int i;
	int error;

	if (!pages)
		return -ENOSPC;
	bio_init(&snapshot->read, snapshot->origin.bdev, snapshot->vectors,
		 snapshot->store->pages_per_chunk, REQ_OP_READ | REQ_SYNC);
	snapshot->read.bi_iter.bi_sector = first;
	for (i = 0; bytes; i++) {
		size_t part = min_t(size_t, bytes, PAGE_SIZE);

		__bio_add_page(&snapshot->read, pages[i], part, 0);
		bytes -= part;
	}
	error = submit_bio_wait(&snapshot->read);
	bio_uninit(&snapshot->read);
	if (error)
		return error;
	tl_store_add(snapshot->store, chunk);
	/* In the store before it is said to be: a reader that sees the bit finds the chunk. */
	smp_mb__before_atomic();
	set_bit(chunk, snapshot->kept);
	return 0;
}

/*
 * By the device's worker: keeps what stands in the way of a write to these sectors. True: something
 * did, and does no more. False: the write waits for something else.
 */
bool tl_snapshot_make_way(struct tl_device *device, sector_t first, u32 sectors)
{
	struct tl_snapshot *snapshot = get_armed(device);
	u64 chunk, last;
	int error = 0;
	bool in_way;

	if (!snapshot)
		return false;
	in_way = !tl_snapshot_admits(snapshot, first, sectors);
	if (in_way) {
		chunk = first >> snapshot->chunk_shift;
		last = (min(first + sectors, snapshot->sectors) - 1) >> snapshot->chunk_shift;
		for (; chunk <= last && !error; chunk++) {
			if (!test_bit(chunk, snapshot->kept))
				error = keep(snapshot, chunk);
		}
		if (error)
			fail(snapshot, error);
	}
	tl_snapshot_put(snapshot);
	return in_way;
}

int tl_snapshots_init(void)
{
	free_queue = alloc_workqueue("towline-free", WQ_UNBOUND, 0);
	return free_queue ? 0 : -ENOMEM;
}

/* No device, image or read of an image is left. */
void tl_snapshots_exit(void)
{
	destroy_workqueue(free_queue);
}
