// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a program asks of a snapshot that stands. Taking one is a part of TOWLINE_IOC_FREEZE.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>

#include "control.h"
#include "image.h"

static struct tl_device *find(const struct towline_uuid *uuid)
{
	return tl_device_find((const uuid_t *)uuid);
}

int tl_control_snapshot_status(struct towline_snapshot_status *status)
{
	const struct tl_snapshot *snapshot;
	struct tl_device *device;

	mutex_lock(&tl_lock);
	device = find(&status->uuid);
	snapshot = device ? device->snapshot : NULL;
	if (snapshot) {
		status->error = READ_ONCE(snapshot->error);
		status->flags = status->error ? TOWLINE_SNAPSHOT_FAILED : 0;
		status->sequence = snapshot->sequence;
		status->chunks_stored = READ_ONCE(snapshot->fill.stored);
		status->chunks_max = snapshot->fill.most;
		status->chunk_size = 1U << (snapshot->chunk_shift + SECTOR_SHIFT);
		status->index = snapshot->index;
		status->reserved = 0;
		status->forecast_seconds = tl_fill_seconds(&snapshot->fill, ktime_get_ns());
	}
	mutex_unlock(&tl_lock);
	return snapshot ? 0 : -ENOENT;
}

int tl_control_snapshot_delete(const struct towline_snapshot_delete *delete)
{
	struct tl_device *device;
	u64 number = 0;
	int error = 0;

	if (delete->flags)
		return -EINVAL;
	mutex_lock(&tl_lock);
	device = find(&delete->uuid);
	if (!device || !device->snapshot) {
		error = -ENOENT;
	} else if (tl_image_is_open(device->snapshot)) {
		error = -EBUSY;
	} else {
		number = device->snapshot->number;
		tl_device_drop_snapshot(device);
	}
	mutex_unlock(&tl_lock);
	if (number)
		tl_snapshot_wait_freed(number);
	return error;
}

/* Growing waits for the file to be clean: not while who holds it frozen waits for us. */
static bool is_of_frozen(int fd)
{
	struct file *file = fget(fd);
	bool frozen = file && file_inode(file)->i_sb->s_writers.frozen != SB_UNFROZEN;

	if (file)
		fput(file);
	return frozen;
}

static struct tl_snapshot *get_snapshot(const struct towline_uuid *uuid)
{
	struct tl_snapshot *snapshot;
	struct tl_device *device;

	mutex_lock(&tl_lock);
	device = find(uuid);
	snapshot = device ? device->snapshot : NULL;
	if (snapshot)
		tl_snapshot_get(snapshot);
	mutex_unlock(&tl_lock);
	return snapshot;
}

int tl_control_snapshot_grow(const struct towline_snapshot_grow *grow)
{
	struct tl_snapshot *snapshot;
	struct tl_store_part *part;
	int error;

	if (grow->reserved)
		return -EINVAL;
	if (grow->store_flags & TOWLINE_STORE_FILE && is_of_frozen(grow->store_fd))
		return -EBUSY;
	snapshot = get_snapshot(&grow->uuid);
	if (!snapshot)
		return -ENOENT;
	part = tl_snapshot_part(snapshot->store, grow->store_flags, grow->store_bytes,
				grow->store_fd, &grow->store_id);
	error = PTR_ERR_OR_ZERO(part);
	if (!error) {
		mutex_lock(&tl_lock);
		error = READ_ONCE(snapshot->error) ?: tl_snapshot_grow(snapshot, part);
		mutex_unlock(&tl_lock);
	}
	if (error)
		tl_store_part_free(part);
	tl_snapshot_put(snapshot);
	return error;
}
