// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/towline-control: checks what a program asks for, and has it done. See uapi/towline.h.
 */
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/file.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "control.h"
#include "epoch.h"
#include "events.h"
#include "intent.h"
#include "write.h"

static struct tl_device *find(const struct towline_uuid *uuid)
{
	return tl_device_find((const uuid_t *)uuid);
}

static int do_version(union tl_request *request)
{
	request->version.api = TOWLINE_API_VERSION;
	request->version.features = TOWLINE_FEATURE_TRACK | TOWLINE_FEATURE_SNAPSHOT |
				    TOWLINE_FEATURE_INTENT_LOG | TOWLINE_FEATURE_EVENTS |
				    TOWLINE_FEATURE_STORE_FILE;
	return 0;
}

static int do_detach(union tl_request *request)
{
	struct tl_device *device;
	int error = 0;

	if (request->detach.flags)
		return -EINVAL;
	mutex_lock(&tl_lock);
	device = find(&request->detach.uuid);
	if (!device)
		error = -ENOENT;
	else if (device->snapshot)
		error = -EBUSY;
	else
		tl_device_detach(device);
	mutex_unlock(&tl_lock);
	return error;
}

/* Gathers under tl_lock, copies after it: a fault may wait for a disk. */
static int do_list(union tl_request *request)
{
	struct towline_list *list = &request->list;
	struct towline_uuid *uuids;
	struct tl_device *device;
	u32 capacity = min_t(u32, list->capacity, 4096);
	int error = 0;

	if (list->flags)
		return -EINVAL;
	uuids = kvcalloc(capacity, sizeof(*uuids), GFP_KERNEL);
	if (!uuids)
		return -ENOMEM;
	list->count = 0;
	mutex_lock(&tl_lock);
	list_for_each_entry(device, &tl_devices, list) {
		if (list->count < capacity)
			memcpy(&uuids[list->count], &device->uuid, sizeof(*uuids));
		list->count++;
	}
	mutex_unlock(&tl_lock);
	if (copy_to_user(u64_to_user_ptr(list->uuids), uuids,
			 min(list->count, capacity) * sizeof(*uuids)))
		error = -EFAULT;
	kvfree(uuids);
	return error;
}

static void describe(struct tl_device *device, struct towline_status *status)
{
	struct tl_writes_seen seen;

	tl_writes_look(device, &seen);
	status->major = MAJOR(device->number);
	status->minor = MINOR(device->number);
	status->diskseq = device->diskseq;
	status->first_sector = device->first;
	status->device_bytes = (u64)device->sectors << SECTOR_SHIFT;
	status->sequence = device->sequence;
	status->sequence_frozen = device->frozen ? device->sequence - 1 : 0;
	status->sequence_committed = device->sequence_committed;
	status->memory_bytes = tl_device_memory(device);
	status->block_size = 1U << (device->block_shift + SECTOR_SHIFT);
	status->writes_in_flight = seen.count;
	status->oldest_write_ms = seen.oldest_ms;
	status->writes_held = READ_ONCE(device->held_count);
	status->writes_seen = seen.writes;
	status->bytes_seen = seen.sectors << SECTOR_SHIFT;
	status->discards_seen = seen.discards;
	status->writes_deferred = READ_ONCE(device->held_total);
	status->copy_waits = READ_ONCE(device->copy_waits);
	status->copies = READ_ONCE(device->copies);
	memcpy(status->held_times, device->waits.latency.counts, sizeof(status->held_times));
	memcpy(status->copy_times, device->copy_times.counts, sizeof(status->copy_times));
	if (device->trust == TOWLINE_TRUST_UNKNOWN)
		status->flags |= TOWLINE_STATUS_UNKNOWN;
	if (device->intent)
		status->flags |= TOWLINE_STATUS_LOG;
	if (device->intent && READ_ONCE(device->intent->state) == TL_INTENT_FAILED)
		status->flags |= TOWLINE_STATUS_LOG_FAILED;
}

static int do_status(union tl_request *request)
{
	struct towline_status *status = &request->status;
	struct tl_device *device;
	struct tl_bdev opened;
	struct tl_place place;

	status->flags = 0;
	mutex_lock(&tl_lock);
	device = find(&status->uuid);
	if (device) {
		place = tl_device_place(device);
		describe(device, status);
	}
	mutex_unlock(&tl_lock);
	if (!device)
		return -ENOENT;
	if (!tl_place_open(&place, &opened)) {
		tl_bdev_close(&opened);
		return 0;
	}
	status->flags |= TOWLINE_STATUS_GONE;
	tl_device_tell_gone((const uuid_t *)&status->uuid);
	return 0;
}

#define SNAPSHOT_SIZE_MIN 32 /* of the first version */

static int check_freeze(const struct towline_freeze *freeze)
{
	bool wants_snapshots = freeze->flags & TOWLINE_FREEZE_SNAPSHOT;

	if (freeze->flags & ~(TOWLINE_FREEZE_DRAIN | TOWLINE_FREEZE_SNAPSHOT) ||
	    freeze->timeout_ms > TOWLINE_TIMEOUT_MS_MAX || freeze->reserved)
		return -EINVAL;
	if (!freeze->count || freeze->count > TOWLINE_GROUP_MAX ||
	    freeze->epoch_size != sizeof(struct towline_epoch))
		return -EINVAL;
	if (wants_snapshots ? freeze->snapshot_size < SNAPSHOT_SIZE_MIN ||
			      freeze->snapshot_size > PAGE_SIZE :
			      freeze->snapshots || freeze->snapshot_size)
		return -EINVAL;
	return 0;
}

static int check_members(const struct tl_freeze *freeze)
{
	u32 i;

	for (i = 0; i < freeze->count; i++) {
		if (freeze->epochs[i].reserved ||
		    (freeze->snapshots && freeze->snapshots[i].notify_percent > 100))
			return -EINVAL;
	}
	return 0;
}

/* Of whatever version: what it lacks is zero. */
static struct towline_snapshot *take_snapshots(const struct towline_freeze *request)
{
	struct towline_snapshot *snapshots;
	int error = 0;
	u32 i;

	snapshots = kcalloc(request->count, sizeof(*snapshots), GFP_KERNEL);
	if (!snapshots)
		return ERR_PTR(-ENOMEM);
	for (i = 0; i < request->count && !error; i++)
		error = copy_struct_from_user(&snapshots[i], sizeof(snapshots[i]),
					      u64_to_user_ptr(request->snapshots +
							      i * request->snapshot_size),
					      request->snapshot_size);
	if (!error)
		return snapshots;
	kfree(snapshots);
	return ERR_PTR(error);
}

static int give_snapshots(const struct towline_freeze *request,
			  const struct towline_snapshot *snapshots)
{
	size_t size = min_t(size_t, request->snapshot_size, sizeof(*snapshots));
	u32 i;

	for (i = 0; i < request->count; i++) {
		if (copy_to_user(u64_to_user_ptr(request->snapshots +
						 i * request->snapshot_size),
				 &snapshots[i], size))
			return -EFAULT;
	}
	return 0;
}

/*
 * Should copying out fail, the epochs are frozen and the program does not know: nothing is lost, as
 * the next freeze gives back what nobody committed, and a snapshot can be deleted by its device.
 */
static int freeze_copied(struct towline_freeze *request, struct tl_freeze *freeze)
{
	int error = check_members(freeze) ?: tl_epochs_freeze(freeze);

	if (error)
		return error;
	request->held_us = freeze->held_us;
	if (copy_to_user(u64_to_user_ptr(request->epochs), freeze->epochs,
			 freeze->count * sizeof(*freeze->epochs)))
		return -EFAULT;
	return freeze->snapshots ? give_snapshots(request, freeze->snapshots) : 0;
}

static int do_freeze(union tl_request *request)
{
	struct towline_freeze *asked = &request->freeze;
	struct tl_freeze freeze = {
		.count = asked->count,
		.flags = asked->flags,
		.timeout_ms = asked->timeout_ms,
	};
	int error = check_freeze(asked);

	if (error)
		return error;
	freeze.epochs = memdup_user(u64_to_user_ptr(asked->epochs),
				    freeze.count * sizeof(*freeze.epochs));
	if (IS_ERR(freeze.epochs))
		return PTR_ERR(freeze.epochs);
	if (freeze.flags & TOWLINE_FREEZE_SNAPSHOT) {
		freeze.flags |= TOWLINE_FREEZE_DRAIN;
		freeze.snapshots = take_snapshots(asked);
	}
	if (IS_ERR(freeze.snapshots)) {
		error = PTR_ERR(freeze.snapshots);
	} else {
		error = freeze_copied(asked, &freeze);
		kfree(freeze.snapshots);
	}
	kfree(freeze.epochs);
	return error;
}

static int do_snapshot_status(union tl_request *request)
{
	return tl_control_snapshot_status(&request->snapshot_status);
}

static int do_snapshot_delete(union tl_request *request)
{
	return tl_control_snapshot_delete(&request->snapshot_delete);
}

static int do_snapshot_grow(union tl_request *request)
{
	return tl_control_snapshot_grow(&request->snapshot_grow);
}

static int do_map(union tl_request *request)
{
	struct towline_map *map = &request->map;
	struct tl_device *device;
	struct file *file;

	if (map->flags || map->reserved)
		return -EINVAL;
	mutex_lock(&tl_lock);
	device = find(&map->uuid);
	if (!device) {
		file = ERR_PTR(-ENOENT);
	} else if (!device->frozen || map->sequence != device->sequence - 1) {
		file = ERR_PTR(-ESTALE);
	} else {
		map->bytes = device->frozen->bytes;
		file = tl_map_file(device->frozen);
	}
	mutex_unlock(&tl_lock);
	if (IS_ERR(file))
		return PTR_ERR(file);
	map->fd = get_unused_fd_flags(O_CLOEXEC);
	if (map->fd < 0)
		fput(file);
	else
		fd_install(map->fd, file);
	return min(map->fd, 0);
}

static int do_give_back(union tl_request *request)
{
	struct towline_settle *settle = &request->settle;
	struct tl_device *device;
	int error;

	if (settle->flags || settle->pending || settle->pending_bytes)
		return -EINVAL;
	mutex_lock(&tl_lock);
	device = find(&settle->uuid);
	error = device ? tl_epoch_give_back(device, settle->sequence) : -ENOENT;
	mutex_unlock(&tl_lock);
	return error;
}

static const struct {
	int (*handle)(union tl_request *request);
	size_t size; /* of what this module knows */
	size_t size_min; /* of the first version */
} requests[] = {
	[_IOC_NR(TOWLINE_IOC_VERSION)] = { do_version, sizeof(struct towline_version), 16 },
	[_IOC_NR(TOWLINE_IOC_ATTACH)] = { tl_control_attach, sizeof(struct towline_attach), 48 },
	[_IOC_NR(TOWLINE_IOC_DETACH)] = { do_detach, sizeof(struct towline_detach), 24 },
	[_IOC_NR(TOWLINE_IOC_LIST)] = { do_list, sizeof(struct towline_list), 24 },
	[_IOC_NR(TOWLINE_IOC_STATUS)] = { do_status, sizeof(struct towline_status), 136 },
	[_IOC_NR(TOWLINE_IOC_FREEZE)] = { do_freeze, sizeof(struct towline_freeze), 48 },
	[_IOC_NR(TOWLINE_IOC_MAP)] = { do_map, sizeof(struct towline_map), 48 },
	[_IOC_NR(TOWLINE_IOC_COMMIT)] = { tl_control_commit, sizeof(struct towline_settle), 32 },
	[_IOC_NR(TOWLINE_IOC_GIVE_BACK)] = { do_give_back, sizeof(struct towline_settle), 32 },
	[_IOC_NR(TOWLINE_IOC_SNAPSHOT_STATUS)] = {
		do_snapshot_status, sizeof(struct towline_snapshot_status), 64,
	},
	[_IOC_NR(TOWLINE_IOC_SNAPSHOT_DELETE)] = {
		do_snapshot_delete, sizeof(struct towline_snapshot_delete), 24,
	},
	[_IOC_NR(TOWLINE_IOC_LOG_STATUS)] = {
		tl_control_log_status, sizeof(struct towline_log_status), 72,
	},
	[_IOC_NR(TOWLINE_IOC_EXTENTS)] = { tl_control_extents, sizeof(struct towline_extents), 40 },
	[_IOC_NR(TOWLINE_IOC_SNAPSHOT_GROW)] = {
		do_snapshot_grow, sizeof(struct towline_snapshot_grow), 56,
	},
};

static long control_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	void __user *user = (void __user *)argument;
	unsigned int number = _IOC_NR(command);
	union tl_request request = {};
	size_t known;
	u32 given;
	int error;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (number >= ARRAY_SIZE(requests) || !requests[number].handle ||
	    command != _IO(TOWLINE_IOC_TYPE, number))
		return -ENOTTY;
	known = requests[number].size;
	if (get_user(given, (u32 __user *)user))
		return -EFAULT;
	if (given < requests[number].size_min)
		return -EINVAL;
	if (given > PAGE_SIZE)
		return -E2BIG;
	error = copy_struct_from_user(&request, known, user, given);
	if (error)
		return error;
	request.size = given;
	error = requests[number].handle(&request);
	if (!error && copy_to_user(user, &request, min_t(size_t, known, given)))
		error = -EFAULT;
	return error;
}

static const struct file_operations control_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = control_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.open = tl_events_open,
	.release = tl_events_release,
	.read = tl_events_read,
	.poll = tl_events_poll,
};

static struct miscdevice control = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "towline-control",
	.fops = &control_fops,
	.mode = 0600,
};

int tl_control_init(void)
{
	return misc_register(&control);
}

void tl_control_exit(void)
{
	misc_deregister(&control);
}
