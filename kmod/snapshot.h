/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_SNAPSHOT_H
#define TOWLINE_SNAPSHOT_H

#include <linux/kref.h>

#include "device.h"
#include "fill.h"
#include "store.h"
#include "transfer.h"

/*
 * The content of a device at one moment, kept by copying each chunk aside before it is overwritten.
 * Held by the device, by its image (a block device), by reads of the image and by a worker at it.
 */
struct tl_snapshot {
	struct kref ref;
	struct list_head list; /* in alive */
	u64 number; /* never given twice */
	unsigned int chunk_shift; /* of sectors in a chunk */
	sector_t sectors;
	u64 chunks;
	u64 sequence; /* of the epoch that ended with it */
	unsigned long *kept; /* a bit a chunk: its old content is in the store */
	int error; /* not 0: it failed */
	struct tl_store *store;
	struct tl_fill fill;
	uuid_t uuid; /* of the device, for events */
	struct tl_bdev origin;

	struct tl_own *own; /* what reads as zero; NULL: nothing */

	/* The worker's. */
	struct bio read;
	struct bio_vec *vectors;
	struct tl_transfer transfer;

	/* The image's; see image.c. */
	struct gendisk *disk;
	struct bio_set clones;
	struct bio_set fetches;
	unsigned int index;
	struct work_struct free_work;
};

struct tl_snapshot *tl_snapshot_create(const struct tl_place *place, const uuid_t *uuid,
				       const struct towline_snapshot *wanted);
void tl_snapshot_get(struct tl_snapshot *snapshot);
void tl_snapshot_put(struct tl_snapshot *snapshot);
void tl_snapshot_arm(struct tl_device *device, struct tl_snapshot *snapshot);
void tl_snapshot_disarm(struct tl_device *device);
int tl_snapshot_grow(struct tl_snapshot *snapshot, struct tl_store_part *part);
bool tl_snapshot_admits(const struct tl_snapshot *snapshot, sector_t first, u32 sectors);
bool tl_snapshot_make_way(struct tl_device *device, sector_t first, u32 sectors);

struct tl_store_part *tl_snapshot_part(const struct tl_store *store, u32 flags, u64 bytes, int fd,
				       const struct towline_uuid *id);
int tl_snapshots_init(void);
void tl_snapshot_wait_freed(u64 number);
void tl_snapshots_exit(void);

#endif
