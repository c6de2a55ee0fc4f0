// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writes in flight: from the moment a tracked device sees one until its last byte is on the disk.
 *
 * Why they are listed. A bit that is set when a write is submitted says nothing about when its data
 * arrives. A write that was submitted before a switch of epochs and lands after the old map was
 * read is lost to both epochs, unless the new one knows of it, too. So each write is listed until
 * it is complete, and a switch marks what is listed in the new map.
 *
 * Why nothing falls between. A write is listed and marked in one section under its slot's lock. A
 * switch first publishes the new map, then takes each slot's lock in turn:
 *
 *   - a section that ended before the switch came to the slot has its write in the list (the switch
 *     marks it in the new map) or complete (its data was on the disk before the switch ended, and
 *     the bit is in the old map);
 *   - a section that began after it sees the new map, by the lock.
 *
 * When the switch has been to every slot, no section uses the old map any more: it is frozen. The
 * same holds for closing a gate: afterwards whatever passed before is listed, and nothing is added.
 *
 * How a write's end is known. The bio's completion function is replaced by tl_write_end(), which
 * gives the bio back what it had before it calls it. It is the bio that is followed, so it does not
 * matter whether, and how often, it is split below: a split is chained to it, and it completes
 * after the last of them. A remainder that is submitted again, or a bio that a multipath driver
 * sends another way, is recognised by what it wears (tl_write_is_noted).
 *
 * Memory. Completed writes are kept in the slot for the next, so that the usual write allocates
 * nothing. Behind that is a mempool a device: its reserve comes back as writes of this very device
 * complete, which needs no other device's reserve and no memory. See filter.c for a write that
 * finds none.
 */
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "filter.h"
#include "intent.h"
#include "snapshot.h"
#include "write.h"

#define RESERVE_COUNT 32
#define SPARE_PER_SLOT_MAX 32

static struct kmem_cache *write_cache;

/* What bio_chain() gives a child: bio.c keeps it to itself. */
static bio_end_io_t *chain_end_io;

/*
 * Completions of others that run beneath tl_write_end(), counted by CPU; only the sum means
 * something. While it is not zero, somebody will return into this module.
 */
static DEFINE_PER_CPU(long, ends_running);

/*
 * A chain of bios, each the parent of the one before, is completed by bio_endio() in a loop, as
 * long as it sees bio_chain_endio as their completion function. Wearing ours they would complete by
 * recursion: zeroing a gigabyte makes a chain of a thousand bios, and when the first is the last to
 * complete that many frames do not fit the stack. So a child that completes while another does on
 * the same CPU is only put in line, and the outermost one works through the line.
 */
struct chain_line {
	struct bio_list waiting;
	bool at_work;
};

static DEFINE_PER_CPU(struct chain_line, chain_lines);

static void chain_end(struct bio *bio)
{
	struct chain_line *line;
	unsigned long flags;

	/* An interrupt may come in between and put its own in line; another task may not. */
	preempt_disable();
	local_irq_save(flags);
	line = this_cpu_ptr(&chain_lines);
	if (line->at_work) {
		/* The bio is complete: nobody but its completion function looks at bi_next. */
		bio_list_add(&line->waiting, bio);
	} else {
		line->at_work = true;
		do {
			local_irq_restore(flags);
			chain_end_io(bio);
			local_irq_save(flags);
			bio = bio_list_pop(&line->waiting);
		} while (bio);
		line->at_work = false;
	}
	local_irq_restore(flags);
	preempt_enable();
}

static void write_finish(struct tl_write *write)
{
	struct tl_device *device = write->device;
	struct tl_slot *slot = write->slot;
	mempool_t *pool = device->writes;
	unsigned long flags;
	bool kept;

	/*
	 * As soon as the write is off the list the device may be found to have none in flight, and
	 * be taken down. RCU keeps it until we are through with it: synchronize_rcu() waits for
	 * whoever runs with interrupts off, too, and that is less to do than rcu_read_lock().
	 */
	local_irq_save(flags);
	raw_spin_lock(&slot->lock);
	__hlist_del(&write->link);
	/* The reserve is filled first, or a CPU could wait for what another one keeps spare. */
	kept = slot->spare_count < SPARE_PER_SLOT_MAX && pool->curr_nr >= pool->min_nr;
	if (likely(kept)) {
		hlist_add_head(&write->link, &slot->spare);
		slot->spare_count++;
	}
	raw_spin_unlock(&slot->lock);
	if (unlikely(!kept))
		mempool_free(write, pool);
	/* Who waits said so before they looked at the list under this lock. */
	if (unlikely(READ_ONCE(device->draining)))
		wake_up(&device->drained);
	local_irq_restore(flags);
}

static void tl_write_end(struct bio *bio)
{
	struct tl_write *write = bio->bi_private;
	bio_end_io_t *end_io = write->end_io;

	bio->bi_end_io = end_io;
	bio->bi_private = write->private;
	/* Counted before the write is off the list: see tl_writes_exit(). */
	this_cpu_inc(ends_running);
	write_finish(write);
	if (end_io == chain_end_io)
		chain_end(bio);
	else if (end_io)
		end_io(bio);
	this_cpu_dec(ends_running);
}

static u64 block_of(const struct tl_device *device, sector_t sector)
{
	return sector >> device->block_shift;
}

static void mark(const struct tl_device *device, struct tl_map *map, const struct tl_write *write)
{
	tl_map_mark(map, block_of(device, write->first),
		    block_of(device, write->first + write->sectors - 1));
}

/* Whether the bio wears a write of this device that holds these sectors. */
bool tl_write_is_noted(const struct tl_device *device, const struct bio *bio, sector_t first,
		       u32 sectors)
{
	bio_end_io_t *end_io = bio->bi_end_io;
	const struct tl_write *write = bio->bi_private;

	for (; end_io == tl_write_end; end_io = write->end_io, write = write->private) {
		if (write->device == device && first >= write->first &&
		    first + sectors <= write->first + write->sectors)
			return true;
	}
	return false;
}

/* What the bio has beneath all that it wears. */
void tl_write_unwrap(const struct bio *bio, bio_end_io_t **end_io, void **private)
{
	*end_io = bio->bi_end_io;
	*private = bio->bi_private;
	while (*end_io == tl_write_end) {
		const struct tl_write *write = *private;

		*end_io = write->end_io;
		*private = write->private;
	}
}

static struct tl_write *take_spare(struct tl_slot *slot)
{
	struct tl_write *write = hlist_entry_safe(slot->spare.first, struct tl_write, link);

	if (likely(write)) {
		__hlist_del(&write->link);
		slot->spare_count--;
	}
	return write;
}

/*
 * Lists and marks a write. False: the gate is closed, a region has to be in the intent log or a
 * chunk in a snapshot first.
 */
static bool enlist(struct tl_device *device, struct tl_slot *slot, struct tl_write *write,
		   struct bio *bio, sector_t first, u32 sectors)
{
	const struct tl_snapshot *snapshot = READ_ONCE(device->snapshot);

	if (unlikely(device->gate_closed))
		return false;
	if (unlikely(device->intent) && !tl_intent_admits(device->intent, first, sectors))
		return false;
	if (unlikely(snapshot) && !tl_snapshot_admits(snapshot, first, sectors))
		return false;
	write->slot = slot;
	write->device = device;
	write->end_io = bio->bi_end_io;
	write->private = bio->bi_private;
	write->first = first;
	write->sectors = sectors;
	write->begun = (u32)jiffies;
	hlist_add_head(&write->link, &slot->in_flight);
	mark(device, READ_ONCE(device->present), write);
	slot->writes++;
	slot->sectors += sectors;
	if (unlikely(bio_op(bio) != REQ_OP_WRITE))
		slot->discards++;
	bio->bi_end_io = tl_write_end;
	bio->bi_private = write;
	return true;
}

/*
 * Notes a write to these sectors of the device. False: it can't go on now. Called where sleeping is
 * forbidden, with preemption off.
 */
bool tl_write_begin(struct tl_device *device, struct bio *bio, sector_t first, u32 sectors)
{
	/* Another CPU's slot does no harm, should the task move. */
	struct tl_slot *slot = raw_cpu_ptr(device->slots);
	struct tl_write *write;
	unsigned long flags;
	bool begun;

	raw_spin_lock_irqsave(&slot->lock, flags);
	write = take_spare(slot);
	if (unlikely(!write)) {
		raw_spin_unlock_irqrestore(&slot->lock, flags);
		write = mempool_alloc(device->writes, GFP_NOWAIT | __GFP_NOWARN);
		if (!write)
			return false;
		raw_spin_lock_irqsave(&slot->lock, flags);
	}
	begun = enlist(device, slot, write, bio, first, sectors);
	if (unlikely(!begun)) {
		hlist_add_head(&write->link, &slot->spare);
		slot->spare_count++;
	}
	raw_spin_unlock_irqrestore(&slot->lock, flags);
	return begun;
}

/*
 * Makes next the present map. When it returns, the map that was present is frozen: no write marks
 * in it, and each that was in flight is marked in both. Under tl_lock.
 */
void tl_writes_switch(struct tl_device *device, struct tl_map *next)
{
	unsigned int cpu;

	WRITE_ONCE(device->present, next);
	for_each_possible_cpu(cpu) {
		struct tl_slot *slot = per_cpu_ptr(device->slots, cpu);
		struct tl_write *write;
		unsigned long flags;

		raw_spin_lock_irqsave(&slot->lock, flags);
		hlist_for_each_entry(write, &slot->in_flight, link)
			mark(device, next, write);
		raw_spin_unlock_irqrestore(&slot->lock, flags);
	}
}

/*
 * Takes each slot's lock once. Afterwards each section that was under way when this began has
 * ended, and those to come see what was written before.
 */
void tl_writes_visit(const struct tl_device *device)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		struct tl_slot *slot = per_cpu_ptr(device->slots, cpu);
		unsigned long flags;

		raw_spin_lock_irqsave(&slot->lock, flags);
		raw_spin_unlock_irqrestore(&slot->lock, flags);
	}
}

/*
 * From here on new writes are held. Whoever closes a gate must neither allocate memory nor touch
 * a program's before it is open again: reclaim may have to write to this very device.
 */
void tl_gate_close(struct tl_device *device)
{
	WRITE_ONCE(device->gate_closed, true);
	tl_writes_visit(device);
}

void tl_gate_open(struct tl_device *device)
{
	WRITE_ONCE(device->gate_closed, false);
	tl_writes_visit(device);
	tl_filter_kick(device);
}

bool tl_writes_none(const struct tl_device *device)
{
	unsigned int cpu;
	bool none = true;

	for_each_possible_cpu(cpu) {
		struct tl_slot *slot = per_cpu_ptr(device->slots, cpu);
		unsigned long flags;

		raw_spin_lock_irqsave(&slot->lock, flags);
		none = hlist_empty(&slot->in_flight);
		raw_spin_unlock_irqrestore(&slot->lock, flags);
		if (!none)
			break;
	}
	return none;
}

/* Waits until nothing is in flight; only of use while the gate is closed. */
bool tl_writes_drain(struct tl_device *device, unsigned long timeout)
{
	bool none;

	WRITE_ONCE(device->draining, true);
	none = wait_event_timeout(device->drained, tl_writes_none(device), timeout);
	WRITE_ONCE(device->draining, false);
	return none;
}

void tl_writes_look(const struct tl_device *device, struct tl_writes_seen *seen)
{
	u32 oldest = 0;
	unsigned int cpu;

	memset(seen, 0, sizeof(*seen));
	for_each_possible_cpu(cpu) {
		struct tl_slot *slot = per_cpu_ptr(device->slots, cpu);
		struct tl_write *write;
		unsigned long flags;

		raw_spin_lock_irqsave(&slot->lock, flags);
		hlist_for_each_entry(write, &slot->in_flight, link) {
			oldest = max(oldest, (u32)jiffies - write->begun);
			seen->count++;
		}
		seen->writes += slot->writes;
		seen->sectors += slot->sectors;
		seen->discards += slot->discards;
		raw_spin_unlock_irqrestore(&slot->lock, flags);
	}
	seen->oldest_ms = jiffies_to_msecs(oldest);
}

int tl_writes_create(struct tl_device *device)
{
	unsigned int cpu;

	init_waitqueue_head(&device->drained);
	device->slots = alloc_percpu(struct tl_slot);
	if (!device->slots)
		return -ENOMEM;
	for_each_possible_cpu(cpu) {
		struct tl_slot *slot = per_cpu_ptr(device->slots, cpu);

		raw_spin_lock_init(&slot->lock);
		INIT_HLIST_HEAD(&slot->in_flight);
		INIT_HLIST_HEAD(&slot->spare);
	}
	device->writes = mempool_create_slab_pool(RESERVE_COUNT, write_cache);
	if (!device->writes) {
		free_percpu(device->slots);
		device->slots = NULL;
		return -ENOMEM;
	}
	return 0;
}

/* Nothing is in flight, and nobody can begin a write any more. */
void tl_writes_destroy(struct tl_device *device)
{
	unsigned int cpu;

	if (!device->slots)
		return;
	for_each_possible_cpu(cpu) {
		struct tl_slot *slot = per_cpu_ptr(device->slots, cpu);
		struct tl_write *write;
		struct hlist_node *next;

		WARN_ON_ONCE(!hlist_empty(&slot->in_flight));
		hlist_for_each_entry_safe(write, next, &slot->spare, link)
			mempool_free(write, device->writes);
	}
	mempool_destroy(device->writes);
	free_percpu(device->slots);
}

/* Two bios that go nowhere show what bio_chain() makes the completion function of a child. */
static void learn_chain_end_io(void)
{
	struct bio child, parent;

	bio_init(&parent, NULL, NULL, 0, REQ_OP_WRITE);
	bio_init(&child, NULL, NULL, 0, REQ_OP_WRITE);
	bio_chain(&child, &parent);
	chain_end_io = child.bi_end_io;
	bio_uninit(&child);
	bio_uninit(&parent);
}

int tl_writes_init(void)
{
	learn_chain_end_io();
	write_cache = KMEM_CACHE(tl_write, 0);
	return write_cache ? 0 : -ENOMEM;
}

/*
 * Every device is gone, so no bio wears tl_write_end() any more. Who could still be in it?
 *
 *   - One that has not yet returned from the completion function that it called: counted. Each was
 *     counted before its write was off the list, and the list was found empty under the same lock,
 *     so no increment is missed; when the sum reads zero, all decrements were seen, too.
 *   - One that is between its decrement and its return. In an interrupt it is waited for by
 *     synchronize_rcu(); a task that was preempted there, by synchronize_rcu_tasks().
 */
void tl_writes_exit(void)
{
	for (;;) {
		long running = 0;
		unsigned int cpu;

		for_each_possible_cpu(cpu)
			running += per_cpu(ends_running, cpu);
		if (!running)
			break;
		schedule_timeout_uninterruptible(1);
	}
	synchronize_rcu();
	synchronize_rcu_tasks();
	kmem_cache_destroy(write_cache);
}
