/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_LOG_H
#define TOWLINE_LOG_H

#include <linux/bio.h>
#include <linux/completion.h>

#include "extents.h"
#include "log_format.h"

/*
 * Reads and writes the blocks of an intent log: one at a time, by whoever has the log to himself.
 */
struct tl_log {
	struct tl_extents *extents;
	uuid_t uuid;
	u64 blocks;
	u64 generation; /* of the last write */
	u64 writes; /* of blocks */
	bool trusted; /* what is there was put there by us, or may be overwritten whatever it is */
	bool in_flight; /* a request that took too long is not complete yet */
	unsigned long timeout;
	struct page *page; /* what is read or written */
	struct page *old; /* what is there, before it is overwritten */
	struct bio bio;
	struct bio_vec vector;
	struct completion done;
};

struct tl_log *tl_log_create(struct tl_extents *extents);
void tl_log_free(struct tl_log *log);
bool tl_log_is_idle(struct tl_log *log);
bool tl_log_is_bio_of(const struct tl_log *log, bio_end_io_t *end_io, const void *private);
int tl_log_read(struct tl_log *log, u64 block, enum tl_log_kind kind, u64 generation, void *data,
		size_t bytes);
int tl_log_write(struct tl_log *log, u64 block, enum tl_log_kind kind, const void *data,
		 size_t bytes, blk_opf_t flags);
int tl_log_read_header(struct tl_log *log, struct tl_log_header *header);

#endif
