/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_STORE_H
#define TOWLINE_STORE_H

#include <linux/bvec.h>
#include <linux/types.h>

/*
 * Where a snapshot keeps the old content of chunks that were overwritten: memory, all of it set
 * aside when the store is made, since nothing may be allocated for the sake of a write.
 *
 * One worker adds; readers look up at any time without a lock. What is added stays.
 */
struct tl_store {
	u64 chunks_max;
	u64 chunks_stored; /* by the worker */
	unsigned int pages_per_chunk;
	unsigned int table_bits;
	struct tl_stored *stored; /* chunks_max of them */
	u32 *table; /* 1 + index of the first of a chain; 0: none */
	struct page **pages; /* pages_per_chunk for each chunk */
};

struct tl_store *tl_store_create(u64 bytes, unsigned int chunk_bytes);
void tl_store_destroy(struct tl_store *store);
struct page **tl_store_room(struct tl_store *store);
void tl_store_add(struct tl_store *store, u64 chunk);
struct page **tl_store_find(const struct tl_store *store, u64 chunk);

#endif
