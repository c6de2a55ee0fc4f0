// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a program wants to be told of without asking: read() and poll() of the control device.
 *
 * The last events of the module are kept in one ring, numbered; each open file knows the number of
 * the event that it reads next. So a reader that is slow, or never reads, costs nothing and stops
 * nobody. What it was too late for it is told by an event of its own, TOWLINE_EVENT_LOST, in the
 * place of those: it asks for the status of everything then.
 */
#include <linux/capability.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "events.h"

#define EVENTS_KEPT 128

/* Both under the lock, which completions take, too. */
static struct towline_event ring[EVENTS_KEPT];
static u64 next_number = 1;
static DEFINE_RAW_SPINLOCK(ring_lock);
static DECLARE_WAIT_QUEUE_HEAD(arrived);

struct reader {
	struct mutex lock; /* two threads may read by one file */
	u64 next;
};

/* From any context that is no NMI, with or without locks of ours. uuid: NULL when of no device. */
void tl_event(u32 kind, const uuid_t *uuid, int error, u64 value)
{
	struct towline_event event = {
		.time_ns = ktime_get_boottime_ns(),
		.kind = kind,
		.error = error,
		.value = value,
	};
	unsigned long flags;

	if (uuid)
		memcpy(&event.uuid, uuid, sizeof(event.uuid));
	raw_spin_lock_irqsave(&ring_lock, flags);
	event.sequence = next_number++;
	ring[event.sequence % EVENTS_KEPT] = event;
	raw_spin_unlock_irqrestore(&ring_lock, flags);
	wake_up_interruptible(&arrived);
}

/* The event of that number, or what became of it; *next is that of the one after. False: none. */
static bool look_up(u64 *next, struct towline_event *event)
{
	u64 oldest;
	bool found;

	raw_spin_lock_irq(&ring_lock);
	oldest = next_number > EVENTS_KEPT ? next_number - EVENTS_KEPT : 1;
	found = *next < next_number;
	if (*next < oldest) {
		*event = (struct towline_event){
			.sequence = oldest - 1,
			.time_ns = ktime_get_boottime_ns(),
			.kind = TOWLINE_EVENT_LOST,
			.value = oldest - *next,
		};
		*next = oldest;
	} else if (found) {
		*event = ring[*next % EVENTS_KEPT];
		*next += 1;
	}
	raw_spin_unlock_irq(&ring_lock);
	return found;
}

static bool is_behind(const struct reader *reader)
{
	bool behind;

	raw_spin_lock_irq(&ring_lock);
	behind = reader->next < next_number;
	raw_spin_unlock_irq(&ring_lock);
	return behind;
}

/* Begins with what happens from now on. */
int tl_events_open(struct inode *inode, struct file *file)
{
	struct reader *reader = kzalloc(sizeof(*reader), GFP_KERNEL);

	if (!reader)
		return -ENOMEM;
	mutex_init(&reader->lock);
	raw_spin_lock_irq(&ring_lock);
	reader->next = next_number;
	raw_spin_unlock_irq(&ring_lock);
	file->private_data = reader;
	return nonseekable_open(inode, file);
}

int tl_events_release(struct inode *inode, struct file *file)
{
	kfree(file->private_data);
	return 0;
}

/* As many whole events as there are and as fit. One that could not be handed over is read again. */
static ssize_t copy_events(struct reader *reader, char __user *buffer, size_t size)
{
	struct towline_event event;
	u64 next = reader->next;
	size_t done = 0;

	while (size - done >= sizeof(event) && look_up(&next, &event)) {
		if (copy_to_user(buffer + done, &event, sizeof(event)))
			return done ?: -EFAULT;
		reader->next = next;
		done += sizeof(event);
	}
	return done;
}

ssize_t tl_events_read(struct file *file, char __user *buffer, size_t size, loff_t *offset)
{
	struct reader *reader = file->private_data;
	ssize_t done;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (size < sizeof(struct towline_event))
		return -EINVAL;
	for (;;) {
		if (mutex_lock_interruptible(&reader->lock))
			return -ERESTARTSYS;
		done = copy_events(reader, buffer, size);
		mutex_unlock(&reader->lock);
		if (done)
			return done;
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		if (wait_event_interruptible(arrived, is_behind(reader)))
			return -ERESTARTSYS;
	}
}

__poll_t tl_events_poll(struct file *file, poll_table *table)
{
	poll_wait(file, &arrived, table);
	return is_behind(file->private_data) ? EPOLLIN | EPOLLRDNORM : 0;
}
