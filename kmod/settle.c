// SPDX-License-Identifier: GPL-2.0-only
/*
 * Waits for the writes that were submitted before the device was in the table.
 *
 * A request holds its queue until it is complete: freezing the queue waits for all of them. A
 * driver that takes bios lets go of the queue at once; there the in-flight counter of the
 * statistics is waited for, behind the closed gate. Neither knows of a bio that a cgroup's limit
 * (blk-throttle) holds back before it came to the queue: docs/kmod.md says so.
 *
 * Between the hook and its hold of the queue a task may be preempted. It does not sleep there of
 * itself, so synchronize_rcu_tasks() waits until it has gone on; but for two:
 *
 *   - It waits to get in, as the queue is frozen: by somebody else, or by this.
 *   - Its bio follows another one, as the rest of a bio that was split, and that one sleeps, or is
 *     what the freezing waits for.
 *
 * Both go on when the queue is let go of, and the second time waits for them. What is left of such
 * a rest when it is split on comes by the hook again.
 *
 * Freezing and the gate keep new writes waiting, each time for no longer than the timeout.
 */
#include <linux/blk-mq.h>
#include <linux/part_stat.h>
#include <linux/rcupdate.h>

#include "compat/bdev.h"
#include "device.h"
#include "filter.h"
#include "settle.h"
#include "write.h"

#define TIMEOUT_MS_DEFAULT 10000

static long writes_counted(struct block_device *bdev)
{
	long count = 0;
	unsigned int cpu;

	for_each_possible_cpu(cpu)
		count += local_read(&per_cpu_ptr(bdev->bd_stats, cpu)->in_flight[1]);
	return count;
}

/* While the gate holds new writes, the kernel's statistics tell of those begun before. */
static bool settle_bio_based(struct tl_device *device, struct block_device *bdev,
			     unsigned long timeout)
{
	unsigned long deadline = jiffies + timeout;
	struct block_device *whole = bdev_whole(bdev);
	bool settled;

	tl_gate_close(device);
	for (;;) {
		settled = tl_writes_none(device) && writes_counted(bdev) <= 0 &&
			  writes_counted(whole) <= 0;
		if (settled || time_after(jiffies, deadline))
			break;
		schedule_timeout_uninterruptible(1);
	}
	tl_gate_open(device);
	return settled;
}

/* Waits for all that has a hold of the queue, and keeps others waiting meanwhile. */
static bool settle_queue(struct request_queue *queue, unsigned long timeout)
{
	bool settled;

	tl_queue_freeze_start(queue);
	settled = blk_mq_freeze_queue_wait_timeout(queue, timeout) > 0;
	tl_queue_unfreeze(queue);
	return settled;
}

int tl_settle(struct tl_device *device, struct block_device *bdev, unsigned int timeout_ms)
{
	unsigned long timeout = msecs_to_jiffies(timeout_ms ?: TIMEOUT_MS_DEFAULT);
	struct request_queue *queue = bdev_get_queue(bdev);
	bool settled = true;
	int times;

	for (times = 0; settled && times < 2; times++) {
		synchronize_rcu_tasks();
		settled = settle_queue(queue, timeout);
	}
	if (settled && tl_bdev_is_bio_based(bdev))
		settled = settle_bio_based(device, bdev, timeout);
	return settled ? 0 : -ETIMEDOUT;
}
