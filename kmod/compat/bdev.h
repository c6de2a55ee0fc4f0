/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Opening a block device by number, and stopping its queue for a moment: both changed often.
 */
#ifndef TOWLINE_COMPAT_BDEV_H
#define TOWLINE_COMPAT_BDEV_H

#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0) || \
	(LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0) && \
	 LINUX_VERSION_CODE < KERNEL_VERSION(6, 9, 0))
#error "towline builds for Linux 6.1 to 6.4 and from 6.9 on"
#endif

/* A device held open for reading; without a claim on it, it may be mounted. */
struct tl_bdev {
	struct block_device *bdev;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
	struct file *file;
#else
	fmode_t mode;
#endif
};

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
/* With a holder it is claimed: -EBUSY if anybody else has, as a mounted filesystem or dm does. */
static inline int tl_bdev_claim(struct tl_bdev *opened, dev_t number, void *holder)
{
	struct file *file = bdev_file_open_by_dev(number, BLK_OPEN_READ, holder, NULL);

	if (IS_ERR(file))
		return PTR_ERR(file);
	opened->file = file;
	opened->bdev = file_bdev(file);
	return 0;
}

static inline void tl_bdev_close(struct tl_bdev *opened)
{
	fput(opened->file);
}
#else
static inline int tl_bdev_claim(struct tl_bdev *opened, dev_t number, void *holder)
{
	struct block_device *bdev;

	opened->mode = FMODE_READ | (holder ? FMODE_EXCL : 0);
	bdev = blkdev_get_by_dev(number, opened->mode, holder);
	if (IS_ERR(bdev))
		return PTR_ERR(bdev);
	opened->bdev = bdev;
	return 0;
}

static inline void tl_bdev_close(struct tl_bdev *opened)
{
	blkdev_put(opened->bdev, opened->mode);
}
#endif

static inline int tl_bdev_open(struct tl_bdev *opened, dev_t number)
{
	return tl_bdev_claim(opened, number, NULL);
}

static inline bool tl_bdev_is_bio_based(struct block_device *bdev)
{
	return bdev->bd_disk->fops->submit_bio;
}

/*
 * From 6.13 on lockdep takes a frozen queue for a lock that the freezing task owns, and the owner's
 * calls change what its allocations may do; the plain ones are what is meant here.
 */
static inline void tl_queue_freeze_start(struct request_queue *queue)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	blk_freeze_queue_start_non_owner(queue);
#else
	blk_freeze_queue_start(queue);
#endif
}

static inline void tl_queue_unfreeze(struct request_queue *queue)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	blk_mq_unfreeze_queue_non_owner(queue);
#else
	blk_mq_unfreeze_queue(queue);
#endif
}

#endif
