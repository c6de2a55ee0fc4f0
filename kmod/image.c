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

struct image_read {
	struct tl_snapshot *snapshot;
	struct bio *bio; /* what was asked for */
	struct bio clone; /* last: the bio set's */
};

static DEFINE_IDA(indices);

/* Reads that are under way, for rmmod to wait for. */
static atomic_t reads = ATOMIC_INIT(0);
static DECLARE_WAIT_QUEUE_HEAD(reads_done);

unsigned int tl_image_front_pad(void)
{
	return offsetof(struct image_read, clone);
}

/* Within one chunk and one page of the reader. */
static void copy_kept(const struct tl_snapshot *snapshot, struct bio_vec *to, sector_t sector)
{
	u64 chunk = sector >> snapshot->chunk_shift;
	size_t offset = (sector - (chunk << snapshot->chunk_shift)) << SECTOR_SHIFT;
	struct page **pages = tl_store_find(snapshot->store, chunk);
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

static void patch(const struct tl_snapshot *snapshot, struct bio *bio)
{
	struct bvec_iter iter = bio->bi_iter;

	while (iter.bi_size) {
		struct bio_vec vector = bio_iter_iovec(bio, iter);
		u64 chunk = iter.bi_sector >> snapshot->chunk_shift;
		u64 left = (((chunk + 1) << snapshot->chunk_shift) - iter.bi_sector)
			   << SECTOR_SHIFT;

		vector.bv_len = min_t(u64, vector.bv_len, left);
		if (test_bit(chunk, snapshot->kept))
			copy_kept(snapshot, &vector, iter.bi_sector);
		bio_advance_iter_single(bio, &iter, vector.bv_len);
	}
}

/* The intent log's own ranges. They are whole sectors. */
static void blank(const struct tl_snapshot *snapshot, struct bio *bio)
{
	struct bvec_iter iter = bio->bi_iter;

	while (iter.bi_size) {
		struct bio_vec vector = bio_iter_iovec(bio, iter);
		sector_t first = iter.bi_sector, end = first + (vector.bv_len >> SECTOR_SHIFT);
		u32 i;

		for (i = 0; i < snapshot->own_count; i++) {
			const struct towline_extent *own = &snapshot->own[i];
			sector_t from = max_t(sector_t, first, own->first_sector);
			sector_t to = min_t(sector_t, end, own->first_sector + own->sectors);

			if (from < to)
				memzero_page(vector.bv_page,
					     vector.bv_offset + ((from - first) << SECTOR_SHIFT),
					     (to - from) << SECTOR_SHIFT);
		}
		bio_advance_iter_single(bio, &iter, vector.bv_len);
	}
}

static void image_read_end(struct bio *clone)
{
	struct image_read *read = container_of(clone, struct image_read, clone);
	struct tl_snapshot *snapshot = read->snapshot;
	struct bio *bio = read->bio;

	bio->bi_status = clone->bi_status;
	/* The bits, the store and the error as they are now that the read is complete. */
	smp_rmb();
	if (!bio->bi_status) {
		patch(snapshot, bio);
		blank(snapshot, bio);
		if (READ_ONCE(snapshot->error))
			bio->bi_status = BLK_STS_IOERR;
	}
	bio_put(clone);
	bio_endio(bio);
	tl_snapshot_put(snapshot);
	if (atomic_dec_and_test(&reads))
		wake_up(&reads_done);
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

/* The snapshot is armed: partition tables and signatures are read as soon as the disk is there. */
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

/*
 * The images are gone. A completion that made the count zero may be on its way out of this module
 * still: in an interrupt, or a task that was preempted.
 */
void tl_images_exit(void)
{
	wait_event(reads_done, !atomic_read(&reads));
	synchronize_rcu();
	synchronize_rcu_tasks();
	ida_destroy(&indices);
}
