/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Making a disk whose driver takes bios: limits became an argument in 6.9.
 */
#ifndef TOWLINE_COMPAT_DISK_H
#define TOWLINE_COMPAT_DISK_H

#include <linux/blkdev.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
static inline struct gendisk *tl_disk_alloc(struct block_device *like)
{
	struct queue_limits limits = {
		.logical_block_size = bdev_logical_block_size(like),
		.physical_block_size = bdev_physical_block_size(like),
	};
	struct gendisk *disk = blk_alloc_disk(&limits, NUMA_NO_NODE);

	return IS_ERR(disk) ? NULL : disk;
}
#else
static inline struct gendisk *tl_disk_alloc(struct block_device *like)
{
	struct gendisk *disk = blk_alloc_disk(NUMA_NO_NODE);

	if (disk) {
		blk_queue_logical_block_size(disk->queue, bdev_logical_block_size(like));
		blk_queue_physical_block_size(disk->queue, bdev_physical_block_size(like));
	}
	return disk;
}
#endif

#endif
