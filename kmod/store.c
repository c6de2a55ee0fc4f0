// SPDX-License-Identifier: GPL-2.0-only
/*
 * The places that a snapshot keeps overwritten chunks in, and which chunk is where. See store.h.
 */
#include <linux/hash.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "own.h"
#include "store.h"

struct tl_stored {
	u64 chunk;
	u32 next; /* as in the table */
};

static u32 *bucket_of(const struct tl_store_part *part, u64 chunk)
{
	return &part->table[hash_64(chunk, part->table_bits)];
}

static void give_back_pages(struct tl_store_part *part)
{
	u64 i;

	for (i = 0; part->pages && i < part->page_count && part->pages[i]; i++) {
		__free_page(part->pages[i]);
		if (i % 4096 == 4095)
			cond_resched();
	}
	kvfree(part->pages);
}

static int set_pages_aside(struct tl_store_part *part, u64 count)
{
	u64 i;

	part->page_count = count;
	part->pages = kvcalloc(count, sizeof(*part->pages), GFP_KERNEL);
	if (!part->pages)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		/* A store that does not fit is refused; it is not worth another's life. */
		part->pages[i] = alloc_page(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);
		if (!part->pages[i])
			return -ENOMEM;
		if (i % 4096 == 4095)
			cond_resched();
	}
	return 0;
}

/* Of one that is in no store. */
void tl_store_part_free(struct tl_store_part *part)
{
	if (IS_ERR_OR_NULL(part))
		return;
	tl_own_remove(part->own);
	tl_extents_free(part->extents);
	give_back_pages(part);
	kvfree(part->table);
	kvfree(part->stored);
	kfree(part);
}

struct tl_store_part *tl_store_part_create(u64 places)
{
	struct tl_store_part *part;

	if (!places || places >= U32_MAX)
		return ERR_PTR(-EINVAL);
	part = kzalloc(sizeof(*part), GFP_KERNEL);
	if (!part)
		return ERR_PTR(-ENOMEM);
	part->places = places;
	part->table_bits = max(ilog2(places), 1);
	part->stored = kvcalloc(places, sizeof(*part->stored), GFP_KERNEL);
	part->table = kvcalloc(1UL << part->table_bits, sizeof(*part->table), GFP_KERNEL);
	if (part->stored && part->table)
		return part;
	tl_store_part_free(part);
	return ERR_PTR(-ENOMEM);
}

struct tl_store_part *tl_store_part_of_memory(const struct tl_store *store, u64 bytes)
{
	struct tl_store_part *part;
	int error;

	if (bytes >> PAGE_SHIFT > totalram_pages())
		return ERR_PTR(-ENOMEM);
	part = tl_store_part_create(bytes / store->chunk_bytes);
	if (IS_ERR(part))
		return part;
	error = set_pages_aside(part, part->places * (store->chunk_bytes / PAGE_SIZE));
	if (!error)
		return part;
	tl_store_part_free(part);
	return ERR_PTR(error);
}

struct tl_store *tl_store_create(unsigned int chunk_bytes)
{
	struct tl_store *store = kzalloc(sizeof(*store), GFP_KERNEL);

	if (store)
		store->chunk_bytes = chunk_bytes;
	return store;
}

void tl_store_destroy(struct tl_store *store)
{
	unsigned int i;

	for (i = 0; store && i < store->part_count; i++)
		tl_store_part_free(store->parts[i]);
	kfree(store);
}

/* Takes the part over, if it succeeds. Under tl_lock, or before anybody else has the store. */
int tl_store_add_part(struct tl_store *store, struct tl_store_part *part)
{
	if (store->part_count == TL_STORE_PARTS_MAX)
		return -ENOSPC;
	store->parts[store->part_count] = part;
	/* Pairs with the acquire in part_count(). */
	smp_store_release(&store->part_count, store->part_count + 1);
	return 0;
}

static unsigned int part_count(const struct tl_store *store)
{
	/* Pairs with the release that adds a part: whoever counts it sees it whole. */
	return smp_load_acquire(&store->part_count);
}

/* Where the next chunk goes. False: the store is full. By the worker. */
bool tl_store_room(const struct tl_store *store, struct tl_store_place *place)
{
	unsigned int i, count = part_count(store);

	for (i = 0; i < count; i++) {
		place->part = store->parts[i];
		place->index = place->part->used;
		if (place->index < place->part->places)
			return true;
	}
	return false;
}

/* The old content of the chunk is in the place, which had room. By the worker. */
void tl_store_add(const struct tl_store_place *place, u64 chunk)
{
	struct tl_store_part *part = place->part;
	struct tl_stored *stored = &part->stored[place->index];
	u32 *bucket = bucket_of(part, chunk);

	stored->chunk = chunk;
	stored->next = *bucket;
	part->used++;
	/* Who finds the chunk finds its content and its successor, too. */
	smp_store_release(bucket, (u32)part->used);
}

static bool find_in(const struct tl_store_part *part, u64 chunk, u64 *index)
{
	/* Pairs with the release in tl_store_add(). */
	u32 at = smp_load_acquire(bucket_of(part, chunk));

	for (; at; at = part->stored[at - 1].next) {
		*index = at - 1;
		if (part->stored[*index].chunk == chunk)
			return true;
	}
	return false;
}

bool tl_store_find(const struct tl_store *store, u64 chunk, struct tl_store_place *place)
{
	unsigned int i, count = part_count(store);

	for (i = 0; i < count; i++) {
		place->part = store->parts[i];
		if (find_in(place->part, chunk, &place->index))
			return true;
	}
	return false;
}
