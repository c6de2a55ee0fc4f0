/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_MAP_H
#define TOWLINE_MAP_H

#include <linux/atomic.h>
#include <linux/kref.h>
#include <linux/types.h>

/*
 * Which blocks changed in one epoch: a bit a block, in memory that can be mapped by a program.
 *
 * Bits are only ever set while writers may see the map, so setting needs no lock. A map that a
 * program has mapped is never written to again once its epoch is over: what it reads stays true.
 */
struct tl_map {
	struct kref ref;
	u64 blocks;
	size_t bytes; /* whole pages */
	atomic_long_t *words;
};

struct tl_map *tl_map_create(u64 blocks);
void tl_map_put(struct tl_map *map);
bool tl_map_is_shared(struct tl_map *map);
void tl_map_clear(struct tl_map *map);
void tl_map_mark_many(struct tl_map *map, u64 first, u64 last);
void tl_map_unmark(struct tl_map *map, u64 first, u64 last);
bool tl_map_has(const struct tl_map *map, u64 first, u64 last);
void tl_map_merge(struct tl_map *into, const struct tl_map *from);
u64 tl_map_count(const struct tl_map *map, u64 blocks);
struct file *tl_map_file(struct tl_map *map);

/* Marks blocks first to last; those past the end are left to what a resize marks. */
static inline void tl_map_mark(struct tl_map *map, u64 first, u64 last)
{
	long bit = 1UL << (first % BITS_PER_LONG);
	atomic_long_t *word;

	if (unlikely(first != last || first >= map->blocks)) {
		tl_map_mark_many(map, first, last);
		return;
	}
	word = &map->words[first / BITS_PER_LONG];
	/* Most writes go where one went before: the line stays shared between CPUs. */
	if (!(atomic_long_read(word) & bit))
		atomic_long_or(bit, word);
}

#endif
