/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_DEVICE_H
#define TOWLINE_DEVICE_H

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/mempool.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/uuid.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "compat/bdev.h"
#include "latency.h"
#include "map.h"
#include "uapi/towline.h"

/*
 * A tracked device: a disk or a part of one, the map of the present epoch and of the frozen one,
 * and the writes that are in flight.
 *
 * No reference is held on the disk, and it is not kept open: a tracked volume can be unmounted, its
 * logical volume removed, its driver unloaded as if nobody tracked it. The disk's address and its
 * diskseq, which the kernel never gives twice, tell whether a write goes to the same disk still.
 */

struct tl_intent;
struct tl_own;
struct tl_record_wish;
struct tl_snapshot;

/*
 * What one CPU began. A write is listed where it was begun and taken off by whichever CPU completes
 * it. The lock is held for a few instructions; hard interrupts take it, so interrupts are off.
 */
struct tl_slot {
	raw_spinlock_t lock;
	unsigned int spare_count;
	struct hlist_head in_flight; /* struct tl_write; what comes and goes at each write is short */
	struct hlist_head spare; /* struct tl_write, for the next writes of this CPU */
	u64 writes;
	u64 sectors;
	u64 discards;
};

struct tl_device {
	/* Read by every write to the disk; changed only under tl_lock. */
	struct hlist_node node; /* in the filter's table; readers by RCU */
	const struct gendisk *disk; /* compared, never followed */
	u64 diskseq;
	sector_t first; /* on the disk */
	sector_t end; /* on the disk; of a whole disk, the end of all numbers */
	unsigned int block_shift; /* of sectors in a block */
	bool gate_closed; /* read under a slot's lock; see write.c */
	bool draining; /* somebody waits for nothing to be in flight */
	struct tl_map *present; /* read under a slot's lock; see tl_writes_switch() */
	struct tl_intent *intent; /* NULL: none; the same for as long as it is attached */
	struct tl_snapshot *snapshot; /* NULL: none; read under a slot's lock, or held_lock */
	struct tl_own __rcu *own; /* NULL: nothing of the device is ours; see own.c */
	struct tl_slot __percpu *slots;

	/* Protected by tl_lock. */
	struct list_head list; /* in tl_devices */
	uuid_t uuid;
	dev_t number;
	sector_t sectors;
	u64 sequence; /* of the present epoch */
	u64 sequence_committed; /* the last that was */
	u32 reasons; /* of the present epoch: TOWLINE_REASON_* */
	u32 reasons_frozen;
	u32 trust; /* of the present epoch: TOWLINE_TRUST_* */
	u32 trust_frozen;
	struct tl_map *frozen; /* NULL when none is */
	struct tl_map *spare;

	mempool_t *writes; /* struct tl_write */
	wait_queue_head_t drained;

	/* Writes that wait, under held_lock; see filter.c. */
	raw_spinlock_t held_lock;
	struct bio_list held;
	unsigned int held_count;
	u64 held_total;
	struct tl_waits waits;
	struct workqueue_struct *held_queue;
	struct delayed_work held_work;

	/* By the line's worker. */
	u64 copy_waits;
	u64 copies;
	struct tl_latency copy_times;

	int told_gone; /* by whoever sees it first */
	struct delayed_work reap_work;
};

/* What an attach asks for, and what came of it. */
struct tl_attach {
	dev_t number;
	u64 diskseq; /* 0: any */
	u32 block_size; /* 0: by the size, or by the log */
	unsigned int timeout_ms;
	struct tl_record_wish *log; /* NULL: none */
	uuid_t uuid;
	u32 trust;
	u32 reasons;
};

/* By what a device is found again. */
struct tl_place {
	dev_t number;
	u64 diskseq;
	sector_t first;
};

/* Serialises all control: who is tracked, epochs, gates. Never taken by a write. */
extern struct mutex tl_lock;
extern struct list_head tl_devices;

int tl_devices_init(void);
void tl_devices_exit(void);
void tl_devices_end(void);
int tl_device_attach(struct tl_attach *attach);
void tl_device_detach(struct tl_device *device);
void tl_device_drop_snapshot(struct tl_device *device);
struct tl_device *tl_device_find(const uuid_t *uuid);
u64 tl_device_memory(const struct tl_device *device);
struct tl_place tl_device_place(const struct tl_device *device);
int tl_place_open(const struct tl_place *place, struct tl_bdev *opened);
void tl_device_is_gone(struct tl_device *device);
void tl_device_tell_gone(const uuid_t *uuid);

static inline u64 tl_device_blocks(const struct tl_device *device, sector_t sectors)
{
	return (sectors + (1ULL << device->block_shift) - 1) >> device->block_shift;
}

#endif
