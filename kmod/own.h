/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_OWN_H
#define TOWLINE_OWN_H

#include <linux/rcupdate.h>
#include <linux/types.h>

#include "device.h"
#include "extents.h"

/*
 * What of a tracked device is ours: the blocks of stores that lie on it. They are written to behind
 * the filesystem's back, so they are no change of the volume, are not copied for a snapshot, and
 * read as zero in its image. See own.c. (An intent log knows its own writes by themselves.)
 */
struct tl_own_range {
	sector_t first; /* on the device */
	sector_t end;
};

struct tl_own {
	struct rcu_head rcu;
	u32 count;
	struct tl_own_range ranges[]; /* sorted, none touches another */
};

/* The blocks of one file, wherever they are. */
struct tl_own_ranges;

struct tl_own_ranges *tl_own_add(const struct tl_extents *extents);
void tl_own_remove(struct tl_own_ranges *ranges);
int tl_own_attach(struct tl_device *device);
void tl_own_begin(struct tl_device *device);
void tl_own_mark(const struct tl_device *device);
struct tl_own *tl_own_copy(const struct tl_device *device);
bool tl_own_holds(const struct tl_own *own, sector_t first, u64 sectors);
const struct tl_own_range *tl_own_next(const struct tl_own *own, sector_t first);

#endif
