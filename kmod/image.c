// SPDX-License-Identifier: GPL-2.0-only
/*
 * The image of a snapshot: a read-only disk, /dev/towline/INDEX.
 *
 * A read goes to the origin as a whole, and when it is complete each chunk that is kept is taken
 * from the store instead. Nothing is locked: a chunk's bit counts as it is after the read. If it is
 * not set then, no write to the chunk had been let on when the read was complete, so what was read
 * is old; if it is, the store has what is old, whatever was read. The snapshot's error is read
 * then, too: once it is set, writes go on without a bit.
 *
 * What is kept in memory is copied at once; for what is kept in files a worker reads them, since a
 * completion can't. What is ours of the device (own.h) reads as zero, whatever was read.
 *
 * A read holds the snapshot, so a snapshot that is deleted meanwhile stays until the read is done.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/highmem.h>
#include <linux/idr.h>
#include <linux/module.h>
#include <linux/wait.h>

#include "compat/disk.h"
#include "image.h"
#include "own.h"

struct image_read {
	struct tl_snapshot *snapshot;
	struct bio *bio; /* what was asked for */
	struct bvec_iter asked; /* its place before the block layer moved it */
	struct work_struct work;
	atomic_t left; /* bios that are under way, and one */
	struct bio clone; /* last: the bio set's */
};

static DEFINE_IDA(indices);
static struct workqueue_struct *fetch_queue;

/* Reads that are under way, for rmmod to wait for. */
static atomic_t reads = ATOMIC_INIT(0);
static DECLARE_WAIT_QUEUE_HEAD(reads_done);

unsigned int tl_image_front_pad(void)
{
	return offsetof(struct image_read, clone);
}

/* Within one chunk and one page of the reader. */
static void copy_kept(const struct tl_snapshot *snapshot, const struct tl_store_place *place,
		      struct bio_vec *to, size_t offset)
{
	struct page **pages = tl_store_pages(snapshot->store, place);
	char *target = bvec_kmap_local(to);
	size_t done = 0;

	while (done < to->bv_len) {
		size_t part = min_t(size_t, to->bv_len - done, PAGE_SIZE - offset % PAGE_SIZE);

		memcpy_from_page(target + done, pages[offset / PAGE_SIZE], offset % PAGE_SIZE,
				 part);
		done += part;
		offset += part;
	}
	kunmap_local(target);
}

/* Copies what is kept in memory. True: some of it is kept in files. */
static bool patch(const struct image_read *read)
{
	const struct tl_snapshot *snapshot = read->snapshot;
	struct bvec_iter iter = read->asked;
	struct tl_store_place place;
	bool files = false;

	while (iter.bi_size) {
		struct bio_vec vector = bio_iter_iovec(read->bio, iter);
		u64 chunk = iter.bi_sector >> snapshot->chunk_shift;
		sector_t within = iter.bi_sector - (chunk << snapshot->chunk_shift);
		u64 left = ((1ULL << snapshot->chunk_shift) - within) << SECTOR_SHIFT;

		vector.bv_len = min_t(u64, vector.bv_len, left);
		if (test_bit(chunk, snapshot->kept)) {
			if (WARN_ON_ONCE(!tl_store_find(snapshot->store, chunk, &place)))
				read->bio->bi_status = BLK_STS_IOERR;
			else if (place.part->pages)
				copy_kept(snapshot, &place, &vector, within << SECTOR_SHIFT);
			else
				files = true;
		}
		bio_advance_iter_single(read->bio, &iter, vector.bv_len);
	}
	return files;
}

/* Writes zeroes to what was read of these sectors of the device. */
static void blank(const struct image_read *read, sector_t first, sector_t end)
{
	struct bvec_iter iter = read->asked;

	if (first > iter.bi_sector)
		bio_advance_iter(read->bio, &iter, (first - iter.bi_sector) << SECTOR_SHIFT);
	iter.bi_size = (end - iter.bi_sector) << SECTOR_SHIFT;
	while (iter.bi_size) {
		struct bio_vec vector = bio_iter_iovec(read->bio, iter);

		memzero_bvec(&vector);
		bio_advance_iter_single(read->bio, &iter, vector.bv_len);
	}
}

static void blank_own(const struct image_read *read)
{
	sector_t first = read->asked.bi_sector;
	sector_t end = first + (read->asked.bi_size >> SECTOR_SHIFT);
	const struct tl_own_range *range;

	while (first < end) {
		range = tl_own_next(read->snapshot->own, first);
		if (!range || range->first >= end)
			return;
		blank(read, max(first, range->first), min(end, range->end));
		first = range->end;
	}
}

/* One of the bios is complete, or what comes before them. The last one ends the read. */
static void image_read_put(struct image_read *read)
{
	struct tl_snapshot *snapshot = read->snapshot;
	struct bio *bio = read->bio;

	if (!atomic_dec_and_test(&read->left))
		return;
	if (!bio->bi_status) {
		blank_own(read);
		if (READ_ONCE(snapshot->error))
			bio->bi_status = BLK_STS_IOERR;
	}
	bio_put(&read->clone);
	bio_endio(bio);
	tl_snapshot_put(snapshot);
	if (atomic_dec_and_test(&reads))
		wake_up(&reads_done);
}

static void fetch_end(struct bio *fetch)
{
	struct image_read *read = fetch->bi_private;

	if (fetch->bi_status)
		WRITE_ONCE(read->bio->bi_status, fetch->bi_status);
	bio_put(fetch);
	image_read_put(read);
}

/* Reads that part of the kept chunk straight to where the reader wants it. */
static void fetch(struct image_read *read, const struct tl_store_place *place, size_t from,
		  sector_t within, sector_t sectors)
{
	struct tl_snapshot *snapshot = read->snapshot;
	const struct tl_extents *extents = place->part->extents;
	sector_t offset = tl_store_offset(snapshot->store, place) + within;

	while (sectors) {
		sector_t run, first = tl_extents_locate(extents, offset, &run);
		struct bio *bio = bio_alloc_clone(extents->opened.bdev, read->bio, GFP_NOIO,
						  &snapshot->fetches);

		run = min(run, sectors);
		bio->bi_opf = REQ_OP_READ | (read->bio->bi_opf & REQ_SYNC);
		bio->bi_iter = read->asked;
		bio_advance_iter(bio, &bio->bi_iter, from);
		bio->bi_iter.bi_size = run << SECTOR_SHIFT;
		bio->bi_iter.bi_sector = first;
		bio->bi_end_io = fetch_end;
		bio->bi_private = read;
		atomic_inc(&read->left);
		submit_bio_noacct(bio);
		from += run << SECTOR_SHIFT;
		offset += run;
		sectors -= run;
	}
}

static void fetch_work(struct work_struct *work)
{
	struct image_read *read = container_of(work, struct image_read, work);
	struct tl_snapshot *snapshot = read->snapshot;
	sector_t first = read->asked.bi_sector;
	sector_t at = first, end = first + (read->asked.bi_size >> SECTOR_SHIFT);
	struct tl_store_place place;

	while (at < end) {
		u64 chunk = at >> snapshot->chunk_shift;
		sector_t within = at - (chunk << snapshot->chunk_shift);
		sector_t sectors = min((1ULL << snapshot->chunk_shift) - within, end - at);

		/* A bit that is set since then does no harm. */
		if (test_bit(chunk, snapshot->kept) &&
		    tl_store_find(snapshot->store, chunk, &place) && !place.part->pages)
			fetch(read, &place, (at - first) << SECTOR_SHIFT, within, sectors);
		at += sectors;
	}
	image_read_put(read);
}

static void image_read_end(struct bio *clone)
{
	struct image_read *read = container_of(clone, struct image_read, clone);

	read->bio->bi_status = clone->bi_status;
	/* The bits, the store and the error as they are now that the read is complete. */
	smp_rmb();
	if (!clone->bi_status && patch(read))
		queue_work(fetch_queue, &read->work);
	else
		image_read_put(read);
}

static void image_submit(struct bio *bio)
{
	struct tl_snapshot *snapshot = bio->bi_bdev->bd_disk->private_data;
	struct image_read *read;
	struct bio *clone;

	if (bio_op(bio) != REQ_OP_READ || READ_ONCE(snapshot->error)) {
		bio_io_error(bio);
		return;
	}
	clone = bio_alloc_clone(snapshot->origin.bdev, bio, GFP_NOIO, &snapshot->clones);
	clone->bi_opf &= ~REQ_POLLED;
	clone->bi_end_io = image_read_end;
	read = container_of(clone, struct image_read, clone);
	read->snapshot = snapshot;
	read->bio = bio;
	read->asked = bio->bi_iter;
	INIT_WORK(&read->work, fetch_work);
	atomic_set(&read->left, 1);
	tl_snapshot_get(snapshot);
	atomic_inc(&reads);
	submit_bio_noacct(clone);
}

static const struct block_device_operations image_fops = {
	.owner = THIS_MODULE,
	.submit_bio = image_submit,
};

bool tl_image_is_open(const struct tl_snapshot *snapshot)
{
	return snapshot->disk && disk_openers(snapshot->disk);
}

/*
 * The snapshot is armed: partition tables and signatures are read as soon as the disk is there. The
 * image of a whole disk shows its partitions; a partition has none, whatever its first block holds.
 */
int tl_image_create(struct tl_snapshot *snapshot)
{
	struct gendisk *disk = tl_disk_alloc(snapshot->origin.bdev);
	int error;

	if (!disk)
		return -ENOMEM;
	error = ida_alloc(&indices, GFP_KERNEL);
	if (error < 0)
		goto put;
	snapshot->index = error;
	if (bdev_is_partition(snapshot->origin.bdev))
		disk->flags |= GENHD_FL_NO_PART;
	disk->fops = &image_fops;
	disk->private_data = snapshot;
	/* A "!" in a disk's name is a "/" below /dev. */
	snprintf(disk->disk_name, sizeof(disk->disk_name), "towline!%u", snapshot->index);
	set_capacity(disk, snapshot->sectors);
	set_disk_ro(disk, true);
	tl_snapshot_get(snapshot);
	error = add_disk(disk);
	if (error)
		goto free_index;
	snapshot->disk = disk;
	return 0;

free_index:
	tl_snapshot_put(snapshot);
	ida_free(&indices, snapshot->index);
put:
	put_disk(disk);
	return error;
}

/* Afterwards no read begins; those under way hold the snapshot. */
void tl_image_remove(struct tl_snapshot *snapshot)
{
	if (!snapshot->disk)
		return;
	del_gendisk(snapshot->disk);
	put_disk(snapshot->disk);
	snapshot->disk = NULL;
	ida_free(&indices, snapshot->index);
	tl_snapshot_put(snapshot);
}

int tl_images_init(void)
{
	fetch_queue = alloc_workqueue("towline-fetch", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	return fetch_queue ? 0 : -ENOMEM;
}

/*
 * The images are gone. A completion that made the count zero may be on its way out of this module
 * still: in an interrupt, or a task that was preempted.
 */
void tl_images_exit(void)
{
	wait_event(reads_done, !atomic_read(&reads));
	synchronize_rcu();
	synchronize_rcu_tasks();
	destroy_workqueue(fetch_queue);
	ida_destroy(&indices);
}
