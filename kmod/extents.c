// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where a file lies on its device. See extents.h.
 *
 * Who writes to a file's blocks past its filesystem destroys another file the day the filesystem
 * has moved it. So only such files are taken whose blocks stay where they are:
 *
 *   - of ext4 and xfs, which write in place. btrfs, f2fs and others move what is overwritten.
 *   - Whole: each block is allocated and written. A hole, an extent that is allocated but not yet
 *     written, or one that xfs shares with another file has no place by bmap().
 *   - Not encrypted, not DAX, not in use as swap, and mapped by nobody for writing.
 *   - Immutable (chattr +i), or held. Either way nobody can write, truncate, punch, clone into,
 *     rename or remove it, nor swap its extents with those of another file, as defragmenting does.
 *     Immutable lasts while nobody holds it and over reboots, and does not keep the filesystem
 *     from being unmounted. Held is what the kernel does with a swap file (S_SWAPFILE), and does
 *     not last.
 *
 * A block device may be given instead of a file: all of it, claimed, so that nothing else is there.
 *
 * What a filesystem does offline (resize2fs that shrinks) no flag forbids. So whoever overwrites
 * what has to outlast the holding looks first whether it is still there.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/file.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "extents.h"

/* Blocks of the filesystem that are asked for between two looks at the clock. */
#define BLOCKS_AT_ONCE 1024

static char holder[] = KBUILD_MODNAME;

static int grow(struct tl_extents *extents, u32 *capacity)
{
	u32 wanted = max(*capacity * 2, 16U);
	struct tl_extent *list;

	if (extents->count < *capacity)
		return 0;
	if (extents->count >= TOWLINE_EXTENTS_MAX)
		return -EFBIG;
	list = kvcalloc(wanted, sizeof(*list), GFP_KERNEL);
	if (!list)
		return -ENOMEM;
	if (extents->count)
		memcpy(list, extents->list, extents->count * sizeof(*list));
	kvfree(extents->list);
	extents->list = list;
	*capacity = wanted;
	return 0;
}

/* Its tail that does not fill a unit is left out. */
static int add(struct tl_extents *extents, u32 *capacity, sector_t first, sector_t sectors)
{
	int error;

	sectors = round_down(sectors, TL_EXTENT_UNIT);
	if (!sectors)
		return 0;
	error = grow(extents, capacity);
	if (error)
		return error;
	extents->list[extents->count++] = (struct tl_extent){
		.first = first,
		.sectors = sectors,
		.offset = extents->sectors,
	};
	extents->sectors += sectors;
	return 0;
}

static int check_file(struct inode *inode, unsigned int flags)
{
	unsigned long magic = inode->i_sb->s_magic;

	if (!S_ISREG(inode->i_mode) || !inode->i_sb->s_bdev ||
	    (magic != EXT4_SUPER_MAGIC && magic != XFS_SUPER_MAGIC))
		return -EOPNOTSUPP;
	if (IS_ENCRYPTED(inode) || IS_DAX(inode))
		return -EOPNOTSUPP;
	if (IS_SWAPFILE(inode))
		return -EBUSY;
	if (!IS_IMMUTABLE(inode) && !(flags & TL_EXTENTS_HOLD))
		return -EPERM;
	if (mapping_writably_mapped(inode->i_mapping))
		return -ETXTBSY;
	return 0;
}

/* Neighbouring blocks of the file that are neighbours on the device are one extent. */
static int walk(struct inode *inode, struct tl_extents *extents)
{
	unsigned int shift = inode->i_blkbits - SECTOR_SHIFT;
	u64 block, blocks = i_size_read(inode) >> inode->i_blkbits;
	sector_t first = 0, sectors = 0;
	u32 capacity = 0;
	int error;

	for (block = 0; block < blocks; block++) {
		sector_t at = block;

		error = bmap(inode, &at);
		if (error)
			return error;
		if (!at)
			return -EOPNOTSUPP;
		at <<= shift;
		if (at != first + sectors) {
			error = add(extents, &capacity, first, sectors);
			if (error)
				return error;
			first = at;
			sectors = 0;
		}
		sectors += 1 << shift;
		if (block % BLOCKS_AT_ONCE == BLOCKS_AT_ONCE - 1) {
			if (fatal_signal_pending(current))
				return -EINTR;
			cond_resched();
		}
	}
	return add(extents, &capacity, first, sectors);
}

/*
 * Takes hold of the file, with what was cached of it written and dropped: reading it later shows
 * what is on the device, and nothing old is written over that.
 */
static int hold(struct inode *inode, unsigned int flags)
{
	int error;

	inode_lock(inode);
	error = check_file(inode, flags);
	if (!error)
		error = filemap_write_and_wait(inode->i_mapping);
	if (!error)
		error = invalidate_inode_pages2(inode->i_mapping);
	if (!error)
		inode->i_flags |= S_SWAPFILE;
	inode_unlock(inode);
	return error;
}

static void let_go(struct inode *inode)
{
	inode_lock(inode);
	inode->i_flags &= ~S_SWAPFILE;
	inode_unlock(inode);
}

/* It is held while its blocks are asked for; not by the lock, which ext4 takes to answer. */
static int resolve(struct file *file, struct tl_extents *extents, unsigned int flags)
{
	struct inode *inode = file_inode(file);
	int error;

	if (!inode->i_sb->s_bdev)
		return -EOPNOTSUPP;
	error = tl_bdev_open(&extents->opened, inode->i_sb->s_bdev->bd_dev) ?: hold(inode, flags);
	if (error)
		return error;
	error = walk(inode, extents);
	if (error || !(flags & TL_EXTENTS_HOLD))
		let_go(inode);
	else
		extents->file = get_file(file);
	return error;
}

static int whole_device(struct inode *inode, struct tl_extents *extents)
{
	u32 capacity = 0;
	int error = tl_bdev_claim(&extents->opened, inode->i_rdev, holder);

	if (error)
		return error;
	return add(extents, &capacity, 0, bdev_nr_sectors(extents->opened.bdev));
}

/*
 * -EOPNOTSUPP: it does not stay where it is, or is not all there. -EPERM: it is not immutable.
 * -EBUSY, -ETXTBSY: somebody else uses it so that it can't be had.
 */
struct tl_extents *tl_extents_of_file(struct file *file, unsigned int flags)
{
	struct inode *inode = file_inode(file);
	struct tl_extents *extents = kzalloc(sizeof(*extents), GFP_KERNEL);
	int error;

	if (!extents)
		return ERR_PTR(-ENOMEM);
	if (S_ISBLK(inode->i_mode))
		error = whole_device(inode, extents);
	else
		error = resolve(file, extents, flags);
	if (!error && !extents->sectors)
		error = -EINVAL;
	if (error) {
		tl_extents_free(extents);
		return ERR_PTR(error);
	}
	return extents;
}

static int copy_list(struct tl_extents *extents, const struct towline_extent *list, u32 count)
{
	sector_t end = bdev_nr_sectors(extents->opened.bdev);
	u32 i, capacity = 0;
	int error;

	for (i = 0; i < count; i++) {
		if (list[i].sectors > end || list[i].first_sector > end - list[i].sectors ||
		    list[i].sectors % TL_EXTENT_UNIT)
			return -EINVAL;
		error = add(extents, &capacity, list[i].first_sector, list[i].sectors);
		if (error)
			return error;
	}
	return extents->sectors ? 0 : -EINVAL;
}

/* What a program says, so nothing may be overwritten there that does not say what it is. */
struct tl_extents *tl_extents_of_list(dev_t number, const struct towline_extent *list, u32 count)
{
	struct tl_extents *extents = kzalloc(sizeof(*extents), GFP_KERNEL);
	int error;

	if (!extents)
		return ERR_PTR(-ENOMEM);
	error = tl_bdev_open(&extents->opened, number);
	if (!error)
		error = copy_list(extents, list, count);
	if (error) {
		tl_extents_free(extents);
		return ERR_PTR(error);
	}
	return extents;
}

void tl_extents_free(struct tl_extents *extents)
{
	if (IS_ERR_OR_NULL(extents))
		return;
	if (extents->file) {
		let_go(file_inode(extents->file));
		fput(extents->file);
	}
	if (extents->opened.bdev)
		tl_bdev_close(&extents->opened);
	kvfree(extents->list);
	kfree(extents);
}

/* Whether any of them does, in a range of sectors of a disk. */
bool tl_extents_lie_in(const struct tl_extents *extents, const struct gendisk *disk, sector_t first,
		       sector_t end)
{
	const struct block_device *bdev = extents->opened.bdev;
	u32 i;

	for (i = 0; i < extents->count && bdev->bd_disk == disk; i++) {
		sector_t from = bdev->bd_start_sect + extents->list[i].first;

		if (from < end && first < from + extents->list[i].sectors)
			return true;
	}
	return false;
}

/* By their places on the disk. */
bool tl_extents_overlap(const struct tl_extents *a, const struct tl_extents *b)
{
	const struct block_device *at_a = a->opened.bdev, *at_b = b->opened.bdev;
	u32 i, j;

	if (at_a->bd_disk != at_b->bd_disk)
		return false;
	for (i = 0; i < a->count; i++) {
		sector_t first_a = at_a->bd_start_sect + a->list[i].first;

		for (j = 0; j < b->count; j++) {
			sector_t first_b = at_b->bd_start_sect + b->list[j].first;

			if (first_a < first_b + b->list[j].sectors &&
			    first_b < first_a + a->list[i].sectors)
				return true;
		}
	}
	return false;
}

/* The device's sector at that offset; run: how many follow in the same extent, itself counted. */
sector_t tl_extents_locate(const struct tl_extents *extents, sector_t offset, sector_t *run)
{
	u32 low = 0, high = extents->count;

	while (high - low > 1) {
		u32 middle = low + (high - low) / 2;

		if (extents->list[middle].offset <= offset)
			low = middle;
		else
			high = middle;
	}
	offset -= extents->list[low].offset;
	if (run)
		*run = extents->list[low].sectors - offset;
	return extents->list[low].first + offset;
}
