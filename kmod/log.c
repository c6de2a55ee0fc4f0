// SPDX-License-Identifier: GPL-2.0-only
/*
 * The blocks of an intent log. See log.h and docs/format-intent.md.
 *
 * A disk writes a sector wholly or not at all, and a block of several in any order. So each sector
 * is complete in itself: a block that is torn by a power cut is some sectors of the new write and
 * some of an older one, each of them good. What that means is up to the kind of block: of regions
 * any mix is right, since each sector alone holds every region that could have been written to. A
 * sector that is not good by its checksum was not torn but spoilt, or is not ours.
 *
 * Before a block is overwritten it is read: unless each of its sectors says that it is this log's
 * and belongs there, nothing is written. A log that was created just now is the exception: it is in
 * a file that the kernel found the place of itself, or on a device that nobody else may use.
 *
 * A request that takes too long is given up (who waits for it may hold up writes), and no other is
 * made before it is complete: it may still read from, or write to, our pages.
 */
#include <linux/bio.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "compat/crc32c.h"
#include "log.h"

#define TIMEOUT_SECONDS 30

static void log_end_io(struct bio *bio)
{
	struct tl_log *log = bio->bi_private;

	complete(&log->done);
}

bool tl_log_is_bio_of(const struct tl_log *log, bio_end_io_t *end_io, const void *private)
{
	return end_io == log_end_io && private == log;
}

/* Whether no request is under way, so that the log can be freed, or another made. */
bool tl_log_is_idle(struct tl_log *log)
{
	if (log->in_flight && try_wait_for_completion(&log->done))
		log->in_flight = false;
	return !log->in_flight;
}

static int transfer(struct tl_log *log, u64 block, struct page *page, blk_opf_t opf)
{
	if (block >= log->blocks)
		return -ENOSPC;
	if (!tl_log_is_idle(log))
		return -ETIMEDOUT;
	reinit_completion(&log->done);
	bio_init(&log->bio, log->extents->opened.bdev, &log->vector, 1, opf | REQ_SYNC);
	log->bio.bi_iter.bi_sector = tl_extents_locate(log->extents, block * TL_LOG_SECTORS, NULL);
	log->bio.bi_end_io = log_end_io;
	log->bio.bi_private = log;
	__bio_add_page(&log->bio, page, SZ_4K, 0);
	log->in_flight = true;
	submit_bio(&log->bio);
	if (!wait_for_completion_timeout(&log->done, log->timeout))
		return -ETIMEDOUT;
	log->in_flight = false;
	return blk_status_to_errno(log->bio.bi_status);
}

static struct tl_log_sector *sector_of(struct page *page, unsigned int sector)
{
	return (struct tl_log_sector *)page_address(page) + sector;
}

static __le32 checksum(const struct tl_log_sector *sector)
{
	static const u8 zero[sizeof(sector->crc)];
	const u8 *bytes = (const u8 *)sector;
	size_t at = offsetof(struct tl_log_sector, crc);
	u32 crc = tl_crc32c(~0U, bytes, at);

	crc = tl_crc32c(crc, zero, sizeof(zero));
	at += sizeof(zero);
	return cpu_to_le32(~tl_crc32c(crc, bytes + at, sizeof(*sector) - at));
}

static bool is_good(const struct tl_log *log, const struct tl_log_sector *sector, u64 index)
{
	return le64_to_cpu(sector->magic) == TL_LOG_MAGIC &&
	       sector->crc == checksum(sector) &&
	       uuid_equal(&sector->log, &log->uuid) &&
	       le64_to_cpu(sector->index) == index;
}

/*
 * Bytes of a block of that kind; generation: of which it must be, 0: of any. -EBADMSG: not all of
 * it is good, or it could not be read. What is not is all ones then.
 */
int tl_log_read(struct tl_log *log, u64 block, enum tl_log_kind kind, u64 generation, void *data,
		size_t bytes)
{
	unsigned int i;
	int error = transfer(log, block, log->page, REQ_OP_READ);
	bool bad = error;

	if (error == -ETIMEDOUT)
		return error;
	for (i = 0; i < TL_LOG_SECTORS && bytes; i++) {
		const struct tl_log_sector *sector = sector_of(log->page, i);
		size_t part = min_t(size_t, bytes, TL_LOG_PAYLOAD);

		if (!error && is_good(log, sector, block * TL_LOG_SECTORS + i) &&
		    le32_to_cpu(sector->kind) == kind &&
		    (!generation || le64_to_cpu(sector->generation) == generation)) {
			memcpy(data, sector->payload, part);
			log->generation = max(log->generation, le64_to_cpu(sector->generation));
		} else {
			memset(data, 0xff, part);
			bad = true;
		}
		data += part;
		bytes -= part;
	}
	return bad ? -EBADMSG : 0;
}

static int check_old(struct tl_log *log, u64 block)
{
	unsigned int i;
	int error = transfer(log, block, log->old, REQ_OP_READ);

	for (i = 0; i < TL_LOG_SECTORS && !error; i++) {
		if (!is_good(log, sector_of(log->old, i), block * TL_LOG_SECTORS + i))
			error = -EBADMSG;
	}
	return error;
}

/* Overwrites a block; generation grows. */
int tl_log_write(struct tl_log *log, u64 block, enum tl_log_kind kind, const void *data,
		 size_t bytes, blk_opf_t flags)
{
	unsigned int i;
	int error = log->trusted ? 0 : check_old(log, block);

	if (error)
		return error;
	/* A request that was given up may still be reading the page. */
	if (!tl_log_is_idle(log))
		return -ETIMEDOUT;
	log->generation++;
	clear_page(page_address(log->page));
	for (i = 0; i < TL_LOG_SECTORS; i++) {
		struct tl_log_sector *sector = sector_of(log->page, i);
		size_t part = min_t(size_t, bytes, TL_LOG_PAYLOAD);

		sector->magic = cpu_to_le64(TL_LOG_MAGIC);
		sector->log = log->uuid;
		sector->kind = cpu_to_le32(kind);
		sector->index = cpu_to_le64(block * TL_LOG_SECTORS + i);
		sector->generation = cpu_to_le64(log->generation);
		memcpy(sector->payload, data, part);
		sector->crc = checksum(sector);
		data += part;
		bytes -= part;
	}
	log->writes++;
	return transfer(log, block, log->page, REQ_OP_WRITE | flags);
}

/* The log's uuid is what its header says. -EBADMSG: there is no log, or its header is spoilt. */
int tl_log_read_header(struct tl_log *log, struct tl_log_header *header)
{
	int error;

	log->uuid = uuid_null;
	error = transfer(log, 0, log->page, REQ_OP_READ);
	if (error)
		return error;
	log->uuid = sector_of(log->page, 0)->log;
	return tl_log_read(log, 0, TL_LOG_HEADER, 0, header, sizeof(*header));
}

/* Takes over the extents, also when it fails. */
struct tl_log *tl_log_create(struct tl_extents *extents)
{
	struct tl_log *log = kzalloc(sizeof(*log), GFP_KERNEL);

	if (!log) {
		tl_extents_free(extents);
		return NULL;
	}
	log->extents = extents;
	log->blocks = extents->sectors / TL_LOG_SECTORS;
	log->timeout = TIMEOUT_SECONDS * HZ;
	init_completion(&log->done);
	log->page = alloc_page(GFP_KERNEL);
	log->old = alloc_page(GFP_KERNEL);
	if (!log->page || !log->old) {
		tl_log_free(log);
		return NULL;
	}
	return log;
}

/* It is idle. */
void tl_log_free(struct tl_log *log)
{
	if (!log)
		return;
	if (log->page)
		__free_page(log->page);
	if (log->old)
		__free_page(log->old);
	tl_extents_free(log->extents);
	kfree(log);
}
