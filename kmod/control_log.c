// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a program asks for that has to do with intent logs; see control.c.
 */
#include <linux/blkdev.h>
#include <linux/file.h>
#include <linux/module.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "control.h"
#include "epoch.h"
#include "record.h"

/* A bit for each region of the smallest size, of 64 TiB. */
#define PENDING_BYTES_MAX SZ_8M

#define LOG_FLAGS (TOWLINE_LOG_USE | TOWLINE_LOG_CREATE | TOWLINE_LOG_NO_GAP | TOWLINE_LOG_WITNESS)

static bool is_zero(const void *field, size_t bytes)
{
	return !memchr_inv(field, 0, bytes);
}

static int check_log(const struct towline_attach *attach)
{
	size_t at = offsetof(struct towline_attach, log_flags);
	u32 flags = attach->log_flags;

	if (!flags)
		return is_zero((const u8 *)attach + at, sizeof(*attach) - at) ? 0 : -EINVAL;
	if (flags & ~LOG_FLAGS || !(flags & TOWLINE_LOG_USE) ||
	    attach->log_extent_count > TOWLINE_EXTENTS_MAX)
		return -EINVAL;
	if (flags & TOWLINE_LOG_CREATE ? attach->log_extent_count : attach->region_size)
		return -EINVAL;
	if (!attach->log_extent_count &&
	    (attach->log_extents || attach->log_major || attach->log_minor))
		return -EINVAL;
	if (attach->log_major >= 1U << (32 - MINORBITS) || attach->log_minor > MINORMASK)
		return -EINVAL;
	if (!(flags & TOWLINE_LOG_WITNESS) &&
	    (attach->witness_fd || attach->witness_sector || attach->witness_major ||
	     attach->witness_minor))
		return -EINVAL;
	if (attach->witness_major >= 1U << (32 - MINORBITS) || attach->witness_minor > MINORMASK)
		return -EINVAL;
	return attach->trust || attach->reasons || attach->reserved ? -EINVAL : 0;
}

static struct tl_extents *extents_of_fd(int fd)
{
	struct tl_extents *extents;
	struct file *file = fget(fd);

	if (!file)
		return ERR_PTR(-EBADF);
	extents = tl_extents_of_file(file, 0);
	fput(file);
	return extents;
}

static struct tl_extents *log_extents(const struct towline_attach *attach)
{
	struct towline_extent *list;
	struct tl_extents *extents;

	if (!attach->log_extent_count)
		return extents_of_fd(attach->log_fd);
	list = vmemdup_user(u64_to_user_ptr(attach->log_extents),
			    attach->log_extent_count * sizeof(*list));
	if (IS_ERR(list))
		return ERR_CAST(list);
	extents = tl_extents_of_list(MKDEV(attach->log_major, attach->log_minor), list,
				     attach->log_extent_count);
	kvfree(list);
	return extents;
}

/* As the log: by its place where that is given, by its file else. */
static struct tl_extents *witness_extents(const struct towline_attach *attach)
{
	struct towline_extent place = {
		.first_sector = attach->witness_sector,
		.sectors = TL_EXTENT_UNIT,
	};

	if (!(attach->log_flags & TOWLINE_LOG_WITNESS))
		return NULL;
	if (!attach->log_extent_count)
		return extents_of_fd(attach->witness_fd);
	return tl_extents_of_list(MKDEV(attach->witness_major, attach->witness_minor), &place, 1);
}

int tl_control_attach(union tl_request *request)
{
	struct towline_attach *asked = &request->attach;
	struct tl_record_wish log = {
		.region_size = asked->region_size,
		.create = asked->log_flags & TOWLINE_LOG_CREATE,
		.no_gap = asked->log_flags & TOWLINE_LOG_NO_GAP,
	};
	struct tl_attach attach = {
		.number = MKDEV(asked->major, asked->minor),
		.diskseq = asked->diskseq,
		.block_size = asked->block_size,
		.timeout_ms = asked->timeout_ms,
	};
	int error = check_log(asked);

	if (asked->flags || asked->timeout_ms > TOWLINE_TIMEOUT_MS_MAX)
		return -EINVAL;
	if (asked->major >= 1U << (32 - MINORBITS) || asked->minor > MINORMASK)
		return -EINVAL;
	if (error)
		return error;
	if (asked->log_flags) {
		memcpy(log.identity, asked->identity, sizeof(log.identity));
		log.extents = log_extents(asked);
		if (IS_ERR(log.extents))
			return PTR_ERR(log.extents);
		log.witness = witness_extents(asked);
		if (IS_ERR(log.witness)) {
			tl_extents_free(log.extents);
			return PTR_ERR(log.witness);
		}
		attach.log = &log;
	}
	error = tl_device_attach(&attach);
	tl_extents_free(log.extents);
	tl_extents_free(log.witness);
	memcpy(&asked->uuid, &attach.uuid, sizeof(asked->uuid));
	asked->trust = attach.trust;
	asked->reasons = attach.reasons;
	return error;
}

/* The bits of regions that a consumer has pending; NULL: none are, or the device has no log. */
static unsigned long *copy_pending(const struct towline_settle *settle)
{
	unsigned long *bits;

	if (!settle->pending_bytes)
		return settle->pending ? ERR_PTR(-EINVAL) : NULL;
	if (settle->pending_bytes > PENDING_BYTES_MAX)
		return ERR_PTR(-E2BIG);
	bits = kvzalloc(round_up(settle->pending_bytes, sizeof(long)), GFP_KERNEL);
	if (!bits)
		return ERR_PTR(-ENOMEM);
	if (!copy_from_user(bits, u64_to_user_ptr(settle->pending), settle->pending_bytes))
		return bits;
	kvfree(bits);
	return ERR_PTR(-EFAULT);
}

/*
 * What was dropped is on the target; before its regions can cool it has to be on the disk, too. A
 * freeze meanwhile drops what the flush may not have seen: then they cool another time.
 */
static void cool(const uuid_t *uuid, const struct tl_place *place, u64 sequence)
{
	struct tl_device *device;
	struct tl_bdev opened;
	int error;

	if (tl_place_open(place, &opened))
		return;
	error = blkdev_issue_flush(opened.bdev);
	tl_bdev_close(&opened);
	if (error)
		return;
	mutex_lock(&tl_lock);
	device = tl_device_find(uuid);
	if (device && device->sequence == sequence)
		tl_intent_cool(device);
	mutex_unlock(&tl_lock);
}

int tl_control_commit(union tl_request *request)
{
	struct towline_settle *settle = &request->settle;
	const uuid_t *uuid = (const uuid_t *)&settle->uuid;
	unsigned long *pending;
	struct tl_device *device;
	struct tl_place place;
	bool can_cool = false;
	u64 sequence = 0;
	int error;

	if (settle->flags)
		return -EINVAL;
	pending = copy_pending(settle);
	if (IS_ERR(pending))
		return PTR_ERR(pending);
	mutex_lock(&tl_lock);
	device = tl_device_find(uuid);
	error = device ? tl_epoch_commit(device, settle->sequence) : -ENOENT;
	if (!error && device->intent) {
		tl_intent_set_pending(device->intent, pending, settle->pending_bytes);
		can_cool = tl_intent_can_cool(device);
		place = tl_device_place(device);
		sequence = device->sequence;
	}
	mutex_unlock(&tl_lock);
	if (can_cool)
		cool(uuid, &place, sequence);
	kvfree(pending);
	return error;
}

static void describe_log(const struct tl_device *device, struct towline_log_status *status,
			 struct towline_extent *ranges, u32 capacity)
{
	struct tl_intent *intent = device->intent;

	status->error = READ_ONCE(intent->error);
	status->regions = intent->regions;
	status->regions_hot = tl_intent_hot_count(intent);
	status->blocks_written = READ_ONCE(intent->log->writes);
	status->region_size = 1U << (intent->region_shift + SECTOR_SHIFT);
	status->count = tl_record_own_ranges(device, ranges, capacity);
}

int tl_control_log_status(union tl_request *request)
{
	struct towline_log_status *status = &request->log_status;
	u32 capacity = min_t(u32, status->capacity, TOWLINE_EXTENTS_MAX);
	struct towline_extent *ranges;
	struct tl_device *device;
	int error = 0;

	if (status->flags)
		return -EINVAL;
	ranges = kvcalloc(capacity, sizeof(*ranges), GFP_KERNEL);
	if (!ranges)
		return -ENOMEM;
	mutex_lock(&tl_lock);
	device = tl_device_find((const uuid_t *)&status->uuid);
	if (device && device->intent)
		describe_log(device, status, ranges, capacity);
	else
		error = -ENOENT;
	mutex_unlock(&tl_lock);
	if (!error && copy_to_user(u64_to_user_ptr(status->ranges), ranges,
				   min(status->count, capacity) * sizeof(*ranges)))
		error = -EFAULT;
	kvfree(ranges);
	return error;
}

/* Told as they are on the device, which is what an attach takes. */
static int tell_extents(struct towline_extents *request, const struct tl_extents *extents)
{
	u32 i, told = min(request->capacity, extents->count);
	struct towline_extent *list = kvcalloc(told, sizeof(*list), GFP_KERNEL);
	int error = 0;

	if (!list)
		return -ENOMEM;
	for (i = 0; i < told; i++)
		list[i] = (struct towline_extent){
			.first_sector = extents->list[i].first,
			.sectors = extents->list[i].sectors,
		};
	request->count = extents->count;
	request->major = MAJOR(extents->opened.bdev->bd_dev);
	request->minor = MINOR(extents->opened.bdev->bd_dev);
	if (copy_to_user(u64_to_user_ptr(request->extents), list, told * sizeof(*list)))
		error = -EFAULT;
	kvfree(list);
	return error;
}

int tl_control_extents(union tl_request *request)
{
	struct tl_extents *extents;
	int error;

	if (request->extents.flags || request->extents.reserved)
		return -EINVAL;
	extents = extents_of_fd(request->extents.fd);
	if (IS_ERR(extents))
		return PTR_ERR(extents);
	error = tell_extents(&request->extents, extents);
	tl_extents_free(extents);
	return error;
}
