/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_STORE_H
#define TOWLINE_STORE_H

#include <linux/bvec.h>
#include <linux/types.h>

#include "extents.h"

/*
 * Where a snapshot keeps the old content of chunks that were overwritten: parts of memory and of
 * files, all of it set aside beforehand, since nothing may be allocated for the sake of a write.
 *
 * One worker adds chunks, to one part after another; a part is added under tl_lock, behind those
 * there are. Readers look up at any time without a lock. What is added stays.
 */
#define TL_STORE_PARTS_MAX 16

struct tl_store_part {
	u64 places; /* for a chunk each */
	u64 used; /* by the worker */
	unsigned int table_bits;
	struct tl_stored *stored; /* a place's chunk */
	u32 *table; /* 1 + place of the first of a chain; 0: none */

	/* Of memory. */
	u64 page_count;
	struct page **pages;

	/* Of a file; NULL otherwise. */
	struct tl_extents *extents;
	struct tl_own_ranges *own; /* registered, so that tracking leaves them alone */
	u8 id[16]; /* the store's, that each of its blocks says */
};

struct tl_store {
	unsigned int chunk_bytes;
	unsigned int part_count; /* grows last: who sees a part sees all of it */
	struct tl_store_part *parts[TL_STORE_PARTS_MAX];
};

/* A place for a chunk. */
struct tl_store_place {
	struct tl_store_part *part;
	u64 index; /* in the part */
};

struct tl_store *tl_store_create(unsigned int chunk_bytes);
void tl_store_destroy(struct tl_store *store);
struct tl_store_part *tl_store_part_of_memory(const struct tl_store *store, u64 bytes);
struct tl_store_part *tl_store_part_create(u64 places);
void tl_store_part_free(struct tl_store_part *part);
int tl_store_add_part(struct tl_store *store, struct tl_store_part *part);

bool tl_store_room(const struct tl_store *store, struct tl_store_place *place);
void tl_store_add(const struct tl_store_place *place, u64 chunk);
bool tl_store_find(const struct tl_store *store, u64 chunk, struct tl_store_place *place);

static inline struct page **tl_store_pages(const struct tl_store *store,
					   const struct tl_store_place *place)
{
	return place->part->pages + place->index * (store->chunk_bytes / PAGE_SIZE);
}

/* Where in the part's file, in sectors. */
static inline sector_t tl_store_offset(const struct tl_store *store,
				       const struct tl_store_place *place)
{
	return place->index * (store->chunk_bytes >> SECTOR_SHIFT);
}

#endif
