/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_TRANSFER_H
#define TOWLINE_TRANSFER_H

#include <linux/bio.h>
#include <linux/completion.h>

#include "store.h"

struct tl_snapshot;

/*
 * A chunk on its way to a store's file, one at a time: the worker's buffers, and what it waits for.
 * Each bio holds the snapshot: it may come back long after the worker has given up waiting.
 */
struct tl_transfer {
	struct bio_set bios;
	struct page **old; /* the chunk's old content */
	struct page **found; /* what is in its place, before it is overwritten */
	unsigned int page_count; /* of each; 0: there are none, the store has no file */

	atomic_t left; /* bios on their way, and one */
	int error;
	struct completion done;
};

struct tl_store_part *tl_store_part_of_file(const struct tl_store *store, int fd, u64 bytes,
					    const struct towline_uuid *id);
int tl_transfer_prepare(struct tl_transfer *transfer, unsigned int chunk_bytes);
void tl_transfer_finish(struct tl_transfer *transfer);
void tl_transfer_look(struct tl_snapshot *snapshot, const struct tl_store_place *place);
int tl_transfer_keep(struct tl_snapshot *snapshot, const struct tl_store_place *place, int error);

#endif
