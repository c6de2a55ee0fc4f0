// SPDX-License-Identifier: GPL-2.0-only
/*
 * Keeping a chunk in a file, past the file's filesystem.
 *
 * Whoever overwrites raw blocks on the strength of a list of extents destroys another's data the day
 * the list is wrong. So the program writes to each 4 KiB of the file what it is (struct
 * towline_store_block) before it hands it over, and that is looked for, block by block, before the
 * first and only time that a place is written to. Anything else there, and the snapshot fails.
 *
 * A write of the origin waits for this. A store that does not answer fails the snapshot after a
 * while, too, and its buffers are not used again. That is also what ends it when a store stands on
 * the very device that it is for in a way that nobody saw, and waits for itself.
 */
#include <linux/file.h>
#include <linux/highmem.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "own.h"
#include "snapshot.h"

/* Longer than a disk takes that will be of use again. */
#define STORE_TIMEOUT (20 * HZ)
#define BLOCK_BYTES TOWLINE_STORE_BLOCK

static_assert(TL_EXTENT_UNIT << SECTOR_SHIFT == BLOCK_BYTES);
static_assert(PAGE_SIZE % BLOCK_BYTES == 0);

static void free_buffer(struct page **pages, unsigned int count)
{
	unsigned int i;

	for (i = 0; pages && i < count && pages[i]; i++)
		__free_page(pages[i]);
	kfree(pages);
}

static struct page **alloc_buffer(unsigned int count)
{
	struct page **pages = kcalloc(count, sizeof(*pages), GFP_KERNEL);
	unsigned int i;

	for (i = 0; pages && i < count; i++) {
		pages[i] = alloc_page(GFP_KERNEL);
		if (!pages[i]) {
			free_buffer(pages, count);
			return NULL;
		}
	}
	return pages;
}

/* A chunk can lie in as many pieces as it has blocks: none of their bios waits for another. */
int tl_transfer_prepare(struct tl_transfer *transfer, unsigned int chunk_bytes)
{
	int error;

	if (transfer->page_count)
		return 0;
	error = bioset_init(&transfer->bios, chunk_bytes / BLOCK_BYTES, 0, BIOSET_NEED_BVECS);
	if (error)
		return error;
	init_completion(&transfer->done);
	transfer->page_count = chunk_bytes / PAGE_SIZE;
	transfer->old = alloc_buffer(transfer->page_count);
	transfer->found = alloc_buffer(transfer->page_count);
	if (transfer->old && transfer->found)
		return 0;
	tl_transfer_finish(transfer);
	return -ENOMEM;
}

/* No bio is on its way. */
void tl_transfer_finish(struct tl_transfer *transfer)
{
	bioset_exit(&transfer->bios);
	free_buffer(transfer->old, transfer->page_count);
	free_buffer(transfer->found, transfer->page_count);
	*transfer = (struct tl_transfer){};
}

static void transfer_end(struct bio *bio)
{
	struct tl_snapshot *snapshot = bio->bi_private;
	struct tl_transfer *transfer = &snapshot->transfer;

	if (bio->bi_status)
		WRITE_ONCE(transfer->error, blk_status_to_errno(bio->bi_status));
	bio_put(bio);
	if (atomic_dec_and_test(&transfer->left))
		complete(&transfer->done);
	tl_snapshot_put(snapshot);
}

static struct bio *piece(struct tl_snapshot *snapshot, const struct tl_extents *extents,
			 sector_t offset, size_t done, size_t left, struct page **pages,
			 blk_opf_t operation)
{
	unsigned int vectors = snapshot->transfer.page_count;
	sector_t run, first = tl_extents_locate(extents, offset + (done >> SECTOR_SHIFT), &run);
	struct bio *bio = bio_alloc_bioset(extents->opened.bdev, min(vectors, BIO_MAX_VECS + 0U),
					   operation, GFP_NOIO, &snapshot->transfer.bios);

	bio->bi_iter.bi_sector = first;
	bio->bi_end_io = transfer_end;
	bio->bi_private = snapshot;
	left = min_t(u64, left, (u64)run << SECTOR_SHIFT);
	while (left) {
		size_t part = min_t(size_t, left, PAGE_SIZE - done % PAGE_SIZE);

		__bio_add_page(bio, pages[done / PAGE_SIZE], part, done % PAGE_SIZE);
		done += part;
		left -= part;
	}
	return bio;
}

static void begin(struct tl_snapshot *snapshot, const struct tl_store_place *place,
		  struct page **pages, blk_opf_t operation)
{
	struct tl_transfer *transfer = &snapshot->transfer;
	sector_t offset = tl_store_offset(snapshot->store, place);
	size_t done = 0, bytes = snapshot->store->chunk_bytes;

	transfer->error = 0;
	reinit_completion(&transfer->done);
	atomic_set(&transfer->left, 1);
	while (done < bytes) {
		struct bio *bio = piece(snapshot, place->part->extents, offset, done, bytes - done,
					pages, operation);

		done += bio->bi_iter.bi_size;
		atomic_inc(&transfer->left);
		tl_snapshot_get(snapshot);
		submit_bio_noacct(bio);
	}
}

static int finish(struct tl_transfer *transfer)
{
	if (!atomic_dec_and_test(&transfer->left) &&
	    !wait_for_completion_io_timeout(&transfer->done, STORE_TIMEOUT))
		return -ETIMEDOUT;
	return READ_ONCE(transfer->error);
}

static bool says_so(const void *block, const struct tl_store_part *part, u64 number)
{
	const struct towline_store_block *says = block;

	return !memcmp(says->magic, TOWLINE_STORE_MAGIC, sizeof(says->magic)) &&
	       !memcmp(says->store.bytes, part->id, sizeof(part->id)) &&
	       le64_to_cpu((__force __le64)says->number) == number;
}

static int check(const struct tl_snapshot *snapshot, const struct tl_store_place *place)
{
	u64 number = tl_store_offset(snapshot->store, place) / TL_EXTENT_UNIT;
	size_t at;

	for (at = 0; at < snapshot->store->chunk_bytes; at += BLOCK_BYTES, number++) {
		char *page = kmap_local_page(snapshot->transfer.found[at / PAGE_SIZE]);
		bool good = says_so(page + at % PAGE_SIZE, place->part, number);

		kunmap_local(page);
		if (!good)
			return -EILSEQ;
	}
	return 0;
}

/* Begins to read what is in the place. tl_transfer_keep() has to follow, whatever happens. */
void tl_transfer_look(struct tl_snapshot *snapshot, const struct tl_store_place *place)
{
	begin(snapshot, place, snapshot->transfer.found, REQ_OP_READ | REQ_SYNC);
}

/* The old content is in transfer.old, unless that failed by error: puts it in its place. */
int tl_transfer_keep(struct tl_snapshot *snapshot, const struct tl_store_place *place, int error)
{
	int found = finish(&snapshot->transfer);

	error = error ?: found ?: check(snapshot, place);
	if (error)
		return error;
	begin(snapshot, place, snapshot->transfer.old, REQ_OP_WRITE | REQ_SYNC);
	return finish(&snapshot->transfer);
}

static int check_block(const struct tl_store_part *part, u64 number)
{
	struct page *page = alloc_page(GFP_KERNEL);
	struct bio_vec vector;
	struct bio bio;
	int error;

	if (!page)
		return -ENOMEM;
	bio_init(&bio, part->extents->opened.bdev, &vector, 1, REQ_OP_READ | REQ_SYNC);
	bio.bi_iter.bi_sector = tl_extents_locate(part->extents, number * TL_EXTENT_UNIT, NULL);
	__bio_add_page(&bio, page, BLOCK_BYTES, 0);
	error = submit_bio_wait(&bio);
	bio_uninit(&bio);
	if (!error && !says_so(page_address(page), part, number))
		error = -EILSEQ;
	__free_page(page);
	return error;
}

static int fill(struct tl_store_part *part, const struct tl_store *store)
{
	u64 blocks = part->places * (store->chunk_bytes / BLOCK_BYTES);
	int error = check_block(part, 0) ?: check_block(part, blocks - 1);

	if (error)
		return error;
	part->own = tl_own_add(part->extents);
	return PTR_ERR_OR_ZERO(part->own);
}

/* Takes over the extents. */
static struct tl_store_part *part_of(struct tl_extents *extents, const struct tl_store *store,
				     u64 bytes, const struct towline_uuid *id)
{
	u64 room = (u64)extents->sectors << SECTOR_SHIFT;
	struct tl_store_part *part;
	int error;

	if (bytes > room) {
		tl_extents_free(extents);
		return ERR_PTR(-EFBIG);
	}
	part = tl_store_part_create((bytes ?: room) / store->chunk_bytes);
	if (IS_ERR(part)) {
		tl_extents_free(extents);
		return part;
	}
	part->extents = extents;
	memcpy(part->id, id->bytes, sizeof(part->id));
	error = fill(part, store);
	if (!error)
		return part;
	tl_store_part_free(part);
	return ERR_PTR(error);
}

/*
 * -EBADF: it is not open for writing. -EILSEQ: its blocks do not say what they are. -EBUSY: it lies
 * on a device whose snapshot stands, or is in use. Others: see tl_extents_of_file().
 */
struct tl_store_part *tl_store_part_of_file(const struct tl_store *store, int fd, u64 bytes,
					    const struct towline_uuid *id)
{
	struct file *file = fget(fd);
	struct tl_extents *extents;

	if (!file)
		return ERR_PTR(-EBADF);
	extents = file->f_mode & FMODE_WRITE ? tl_extents_of_file(file, TL_EXTENTS_HOLD) :
					       ERR_PTR(-EBADF);
	fput(file);
	if (IS_ERR(extents))
		return ERR_CAST(extents);
	return part_of(extents, store, bytes, id);
}
