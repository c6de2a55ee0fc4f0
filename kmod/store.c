// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memory that a snapshot keeps overwritten chunks in. See store.h.
 */
#include <linux/hash.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "store.h"

struct tl_stored {
	u64 chunk;
	u32 next; /* as in the table */
};

static struct page **pages_of(const struct tl_store *store, u64 index)
{
	return store->pages + index * store->pages_per_chunk;
}

static u32 *bucket_of(const struct tl_store *store, u64 chunk)
{
	return &store->table[hash_64(chunk, store->table_bits)];
}

void tl_store_destroy(struct tl_store *store)
{
	u64 i;

	if (!store)
		return;
	for (i = 0; store->pages && i < store->chunks_max * store->pages_per_chunk; i++) {
		if (store->pages[i])
			__free_page(store->pages[i]);
		if (i % 4096 == 4095)
			cond_resched();
	}
	kvfree(store->pages);
	kvfree(store->table);
	kvfree(store->stored);
	kfree(store);
}

static bool fill(struct tl_store *store)
{
	u64 i;

	for (i = 0; i < store->chunks_max * store->pages_per_chunk; i++) {
		/* A store that does not fit is refused; it is not worth another's life. */
		store->pages[i] = alloc_page(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);
		if (!store->pages[i])
			return false;
		if (i % 4096 == 4095)
			cond_resched();
	}
	return true;
}

struct tl_store *tl_store_create(u64 bytes, unsigned int chunk_bytes)
{
	struct tl_store *store;

	if (bytes < chunk_bytes || bytes / chunk_bytes >= U32_MAX ||
	    bytes >> PAGE_SHIFT > totalram_pages())
		return NULL;
	store = kzalloc(sizeof(*store), GFP_KERNEL);
	if (!store)
		return NULL;
	store->chunks_max = bytes / chunk_bytes;
	store->pages_per_chunk = chunk_bytes / PAGE_SIZE;
	store->table_bits = max(ilog2(store->chunks_max), 1);
	store->stored = kvcalloc(store->chunks_max, sizeof(*store->stored), GFP_KERNEL);
	store->table = kvcalloc(1UL << store->table_bits, sizeof(*store->table), GFP_KERNEL);
	store->pages = kvcalloc(store->chunks_max, store->pages_per_chunk * sizeof(*store->pages),
				GFP_KERNEL);
	if (!store->stored || !store->table || !store->pages || !fill(store)) {
		tl_store_destroy(store);
		return NULL;
	}
	return store;
}

/* The pages that the next chunk goes to; NULL when the store is full. By the worker. */
struct page **tl_store_room(struct tl_store *store)
{
	return store->chunks_stored < store->chunks_max ? pages_of(store, store->chunks_stored) :
							   NULL;
}

/* What is in the room is the old content of the chunk. By the worker. */
void tl_store_add(struct tl_store *store, u64 chunk)
{
	struct tl_stored *stored = &store->stored[store->chunks_stored];
	u32 *bucket = bucket_of(store, chunk);

	stored->chunk = chunk;
	stored->next = *bucket;
	WRITE_ONCE(store->chunks_stored, store->chunks_stored + 1);
	/* Who finds the chunk finds its content and its successor, too. */
	smp_store_release(bucket, (u32)store->chunks_stored);
}

struct page **tl_store_find(const struct tl_store *store, u64 chunk)
{
	/* Pairs with the release in tl_store_add(). */
	u32 at = smp_load_acquire(bucket_of(store, chunk));

	for (; at; at = store->stored[at - 1].next) {
		if (store->stored[at - 1].chunk == chunk)
			return pages_of(store, at - 1);
	}
	return NULL;
}
