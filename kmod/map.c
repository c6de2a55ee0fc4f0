// SPDX-License-Identifier: GPL-2.0-only
/*
 * Change maps, and the file by which a program maps one. See map.h.
 */
#include <linux/anon_inodes.h>
#include <linux/bitops.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "compat/vma.h"
#include "map.h"

#ifdef __BIG_ENDIAN
#error "the layout of a map that towline.h promises is that of little-endian words"
#endif

/* Walking 16 TiB in blocks of 4 KiB is half a gigabyte of map: others want the CPU meanwhile. */
#define WORDS_AT_ONCE (SZ_1M / sizeof(long))

static size_t map_words(const struct tl_map *map)
{
	return DIV_ROUND_UP_ULL(map->blocks, BITS_PER_LONG);
}

struct tl_map *tl_map_create(u64 blocks)
{
	struct tl_map *map = kzalloc(sizeof(*map), GFP_KERNEL);

	if (!map)
		return NULL;
	kref_init(&map->ref);
	map->blocks = blocks;
	map->bytes = PAGE_ALIGN(max_t(u64, DIV_ROUND_UP_ULL(blocks, BITS_PER_BYTE), 1));
	map->words = vmalloc_user(map->bytes);
	if (!map->words) {
		kfree(map);
		return NULL;
	}
	return map;
}

static void map_free(struct kref *ref)
{
	struct tl_map *map = container_of(ref, struct tl_map, ref);

	vfree(map->words);
	kfree(map);
}

void tl_map_put(struct tl_map *map)
{
	if (map)
		kref_put(&map->ref, map_free);
}

/* Whether a program has the map, too. It can't get it while this is asked: tl_lock is held. */
bool tl_map_is_shared(struct tl_map *map)
{
	return kref_read(&map->ref) > 1;
}

void tl_map_clear(struct tl_map *map)
{
	memset(map->words, 0, map->bytes);
}

static void mark_word(atomic_long_t *word, unsigned long mask)
{
	if ((atomic_long_read(word) & mask) == mask)
		return;
	/* All ones can't undo what another CPU sets, so it needs no locked operation. */
	if (mask == ~0UL)
		atomic_long_set(word, ~0UL);
	else
		atomic_long_or(mask, word);
}

void tl_map_mark_many(struct tl_map *map, u64 first, u64 last)
{
	size_t word, word_last;

	if (first >= map->blocks)
		return;
	last = min(last, map->blocks - 1);
	word_last = last / BITS_PER_LONG;
	for (word = first / BITS_PER_LONG; word <= word_last; word++) {
		unsigned long mask = ~0UL;

		if (word == first / BITS_PER_LONG)
			mask &= ~0UL << (first % BITS_PER_LONG);
		if (word == word_last)
			mask &= ~0UL >> (BITS_PER_LONG - 1 - last % BITS_PER_LONG);
		mark_word(&map->words[word], mask);
	}
}

/* Nobody else marks in the map meanwhile. */
void tl_map_unmark(struct tl_map *map, u64 first, u64 last)
{
	for (; first <= last && first < map->blocks; first++)
		atomic_long_andnot(1UL << (first % BITS_PER_LONG),
				   &map->words[first / BITS_PER_LONG]);
}

/* Whether any of the blocks first to last is marked. */
bool tl_map_has(const struct tl_map *map, u64 first, u64 last)
{
	u64 end = min(last + 1, map->blocks);

	return find_next_bit((const unsigned long *)map->words, end, first) < end;
}

/* into |= from, while writers go on marking in into. Sizes differ after a resize. */
void tl_map_merge(struct tl_map *into, const struct tl_map *from)
{
	size_t word, count = min(map_words(into), map_words(from));

	for (word = 0; word < count; word++) {
		unsigned long bits = atomic_long_read(&from->words[word]);

		if (bits)
			mark_word(&into->words[word], bits);
		if (word % WORDS_AT_ONCE == WORDS_AT_ONCE - 1)
			cond_resched();
	}
}

/* How many of the first blocks are marked. */
u64 tl_map_count(const struct tl_map *map, u64 blocks)
{
	u64 marked = 0;
	size_t word;

	blocks = min(blocks, map->blocks);
	for (word = 0; word < blocks / BITS_PER_LONG; word++) {
		marked += hweight_long(atomic_long_read(&map->words[word]));
		if (word % WORDS_AT_ONCE == WORDS_AT_ONCE - 1)
			cond_resched();
	}
	if (blocks % BITS_PER_LONG)
		marked += hweight_long(atomic_long_read(&map->words[word]) &
				       ~(~0UL << (blocks % BITS_PER_LONG)));
	return marked;
}

static int map_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct tl_map *map = file->private_data;

	if (vma->vm_flags & VM_WRITE)
		return -EACCES;
	tl_vma_forbid_writing(vma);
	/* Refuses what is not wholly within the map. */
	return remap_vmalloc_range(vma, map->words, vma->vm_pgoff);
}

static int map_release(struct inode *inode, struct file *file)
{
	tl_map_put(file->private_data);
	return 0;
}

/* The owner keeps the module in memory for as long as a program has a map open or mapped. */
static const struct file_operations map_fops = {
	.owner = THIS_MODULE,
	.mmap = map_mmap,
	.release = map_release,
	.llseek = noop_llseek,
};

struct file *tl_map_file(struct tl_map *map)
{
	struct file *file;

	kref_get(&map->ref);
	file = anon_inode_getfile("[towline-map]", &map_fops, map, O_RDONLY | O_CLOEXEC);
	if (IS_ERR(file))
		tl_map_put(map);
	return file;
}
