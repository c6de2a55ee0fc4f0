// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whether a device can have been written to while nobody tracked it.
 *
 * A record is taken when tracking ends and while it goes on, and kept in the log; another one is
 * taken when the device is attached again. What they are compared by depends on the gap:
 *
 *   - In the same boot, the kernel has counted what was written to the device. Nothing was, or the
 *     gap can't be vouched for, whoever did it. A crash in the same boot there is not.
 *   - Over a reboot after a clean end, what another system changes when it mounts or checks a
 *     filesystem: the superblocks are as they were. If somebody could still write after the end
 *     (the device was in use), they say nothing.
 *   - Over a crash, superblocks may have changed while the device was tracked. Of ext4 what only a
 *     mount, a replay or a check changes (times, count, flags) was noted when it last did. xfs and
 *     btrfs have nothing like it: their superblocks were noted shortly after each write to them,
 *     and a crash in between reads as a gap.
 *
 * Another size, partition or identity always means another device. Of what holds none of these
 * filesystems nothing can be told over a reboot: then it is the caller's word or nothing.
 */
#include <linux/bio.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/part_stat.h>
#include <linux/siphash.h>
#include <linux/timekeeping.h>
#include <linux/xarray.h>

#include "vouch.h"

/* Where ext4 and xfs (0), and btrfs (64 KiB) have their superblocks. */
static const sector_t places[] = { 0, SZ_64K >> SECTOR_SHIFT };

/* Numbers of a hash that is kept on disk. */
static const siphash_key_t key = { { 0x546f776c696e6521ULL, 0x766f7563682e2e2eULL } };

#define BOOT_TOLERANCE 2 /* seconds; two boots are further apart */

/*
 * Of ext4: s_mtime, s_mnt_count, s_state, s_lastcheck, s_feature_incompat (which says whether the
 * journal has to be replayed), s_uuid, s_mkfs_time, and the high bytes of these times.
 */
#define EXT4_AT 1024
#define EXT4_MAGIC_AT 0x38
static const struct {
	u16 at;
	u16 bytes;
} ext4_fields[] = {
	{ 0x2c, 4 }, { 0x34, 2 }, { 0x3a, 2 },	 { 0x40, 4 },
	{ 0x60, 4 }, { 0x68, 16 }, { 0x108, 4 }, { 0x275, 3 },
};

struct look {
	struct page *page;
	u64 superblocks;
	u64 mount;
	bool blind; /* something was looked at by which nothing can be told */
};

static u64 hash(u64 before, const void *data, size_t bytes)
{
	return siphash_2u64(before, siphash(data, bytes, &key), &key);
}

static int read_page(struct block_device *bdev, sector_t sector, struct page *page)
{
	struct bio_vec vector;
	struct bio bio;
	int error;

	bio_init(&bio, bdev, &vector, 1, REQ_OP_READ | REQ_SYNC);
	bio.bi_iter.bi_sector = sector;
	__bio_add_page(&bio, page, SZ_4K, 0);
	error = submit_bio_wait(&bio);
	bio_uninit(&bio);
	return error;
}

/* What is at the device's beginning, and at 64 KiB. True: that is a filesystem's superblock. */
static bool look_at_page(struct look *look, const u8 *page, sector_t place)
{
	unsigned int i;

	if (place)
		goto btrfs;
	if (!memcmp(page, "XFSB", 4)) {
		look->mount = hash(look->mount, page, 512);
		return true;
	}
	page += EXT4_AT;
	if (page[EXT4_MAGIC_AT] != 0x53 || page[EXT4_MAGIC_AT + 1] != 0xef)
		return false;
	for (i = 0; i < ARRAY_SIZE(ext4_fields); i++)
		look->mount = hash(look->mount, page + ext4_fields[i].at, ext4_fields[i].bytes);
	return true;

btrfs:
	if (memcmp(page + 64, "_BHRfS_M", 8))
		return false;
	look->mount = hash(look->mount, page, SZ_4K);
	return true;
}

/* The sectors are those of the device that is opened. */
static int look_at_volume(struct look *look, struct block_device *bdev, sector_t first,
			  sector_t sectors)
{
	bool known = false;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(places) && places[i] + PAGE_SECTORS <= sectors; i++) {
		const u8 *bytes = page_address(look->page);
		int error = read_page(bdev, first + places[i], look->page);

		if (error)
			return error;
		look->superblocks = hash(look->superblocks, bytes, SZ_4K);
		known |= look_at_page(look, bytes, places[i]);
	}
	look->blind |= !known;
	return 0;
}

/* The first partition of that number or a later one; false: there is none. */
static bool find_partition(struct block_device *bdev, unsigned long *number, sector_t *first,
			   sector_t *sectors)
{
	const struct block_device *part;

	rcu_read_lock();
	part = xa_find(&bdev->bd_disk->part_tbl, number, ULONG_MAX, XA_PRESENT);
	if (part) {
		*first = part->bd_start_sect;
		*sectors = part->bd_nr_sectors;
	}
	rcu_read_unlock();
	return part;
}

/* Of a disk that has partitions, what is on these. */
static int look_at_all(struct look *look, struct block_device *bdev)
{
	unsigned long number = 1;
	sector_t first, sectors;
	int error;

	error = look_at_volume(look, bdev, 0, bdev_nr_sectors(bdev));
	if (error || bdev_is_partition(bdev))
		return error;
	if (find_partition(bdev, &number, &first, &sectors))
		look->blind = false;
	for (; find_partition(bdev, &number, &first, &sectors) && !error; number++) {
		if (first + sectors <= bdev_nr_sectors(bdev))
			error = look_at_volume(look, bdev, first, sectors);
	}
	return error;
}

/* Of writes and discards, as the kernel counts them for the device. */
u64 tl_vouch_sectors_written(struct block_device *bdev)
{
	if (!blk_queue_io_stat(bdev_get_queue(bdev)))
		return TL_VOUCH_NOT_COUNTED;
	return part_stat_read(bdev, sectors[STAT_WRITE]) +
	       part_stat_read(bdev, sectors[STAT_DISCARD]);
}

/* What the page holds is lost. The identity, and whether it is in use, are the caller's to say. */
int tl_vouch_take(struct block_device *bdev, struct page *page, struct tl_log_vouch *vouch)
{
	struct look look = { .page = page };
	int error = look_at_all(&look, bdev);

	vouch->sectors = cpu_to_le64(bdev_nr_sectors(bdev));
	vouch->diskseq = cpu_to_le64(bdev->bd_disk->diskseq);
	vouch->boot = cpu_to_le64(ktime_get_real_seconds() - ktime_get_boottime_seconds());
	vouch->sectors_written = cpu_to_le64(tl_vouch_sectors_written(bdev));
	vouch->superblocks = cpu_to_le64(look.superblocks);
	vouch->mount = cpu_to_le64(look.blind ? 0 : look.mount);
	memset(vouch->partition, 0, sizeof(vouch->partition));
	if (bdev->bd_meta_info)
		strscpy(vouch->partition, bdev->bd_meta_info->uuid, sizeof(vouch->partition));
	return error;
}

static bool same_boot(const struct tl_log_vouch *then, const struct tl_log_vouch *now)
{
	s64 apart = le64_to_cpu(now->boot) - le64_to_cpu(then->boot);

	return abs(apart) <= BOOT_TOLERANCE;
}

/* By what it is known, wherever that was told both times. */
bool tl_vouch_is_same_volume(const struct tl_log_vouch *then, const struct tl_log_vouch *now)
{
	return !memcmp(then->partition, now->partition, sizeof(now->partition)) &&
	       !memcmp(then->identity, now->identity, sizeof(now->identity));
}

/* clean: the one of then is of a clean end; else of a log that was open. */
bool tl_vouch_holds(const struct tl_log_vouch *then, const struct tl_log_vouch *now, bool clean,
		    bool no_gap)
{
	if (then->sectors != now->sectors || !tl_vouch_is_same_volume(then, now))
		return false;
	if (same_boot(then, now))
		return clean && then->diskseq == now->diskseq &&
		       then->superblocks == now->superblocks &&
		       then->sectors_written == now->sectors_written &&
		       le64_to_cpu(now->sectors_written) != TL_VOUCH_NOT_COUNTED;
	if (!then->mount || !now->mount)
		return no_gap && (!clean || then->superblocks == now->superblocks);
	if (clean)
		return !then->in_use && then->superblocks == now->superblocks;
	return then->mount == now->mount;
}
