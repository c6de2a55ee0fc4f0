/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_EXTENTS_H
#define TOWLINE_EXTENTS_H

#include <linux/fs.h>

#include "compat/bdev.h"
#include "uapi/towline.h"

/*
 * Where a file lies on its device, for those who write there past the filesystem. The file stays
 * where it is for as long as this is held: see extents.c.
 *
 * Offsets are in sectors and count through the extents; nothing that is aligned to
 * TL_EXTENT_UNIT in them is torn between two extents.
 */
#define TL_EXTENT_UNIT 8

struct tl_extent {
	sector_t first; /* on the device that is opened */
	sector_t sectors;
	sector_t offset; /* of its first sector */
};

struct tl_extents {
	struct tl_bdev opened;
	struct file *file; /* NULL: not held */
	sector_t sectors; /* in all */
	u32 count;
	struct tl_extent *list;
};

/* The file is held open and kept from being changed until tl_extents_free(). */
#define TL_EXTENTS_HOLD 0x1U

struct tl_extents *tl_extents_of_file(struct file *file, unsigned int flags);
struct tl_extents *tl_extents_of_list(dev_t number, const struct towline_extent *list, u32 count);
void tl_extents_free(struct tl_extents *extents);
bool tl_extents_lie_in(const struct tl_extents *extents, const struct gendisk *disk, sector_t first,
		       sector_t end);
bool tl_extents_overlap(const struct tl_extents *a, const struct tl_extents *b);
sector_t tl_extents_locate(const struct tl_extents *extents, sector_t offset, sector_t *run);

#endif
