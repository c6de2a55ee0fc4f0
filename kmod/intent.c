// SPDX-License-Identifier: GPL-2.0-only
/*
 * The intent log of a device: before a write to a clean region goes on, it is durable that the
 * region may hold changes. What the log says of the device as a whole is in record.c.
 *
 * The order that it hangs on. A write is enlisted (write.c) only if its regions are durable; that
 * is looked at in the section under a slot's lock in which it is marked. Otherwise it is held, and
 * the device's worker makes its region hot, and those of all that wait with it, writes the blocks
 * of the log that say so, waits until they are on the disk (FUA), and only then makes them durable.
 *
 * A region cools at a commit. What is dropped then is on the target; and it is on the origin's
 * disk, too: the device was flushed after the freeze, or a power cut could take back what the
 * target has. The region is clean in the present map, in the frozen one, and in what consumers said
 * they have pending. Nothing is in flight in it:
 *
 *   1. It is taken out of what is durable. From then on writes to it are held.
 *   2. Each slot is visited: a write that saw it durable is listed, and marked in the present map.
 *   3. If the map has no mark in it, there is no such write. Then it is hot no more. Otherwise it
 *      goes back to what is durable: the log still says so.
 *
 * The worker, which would make it hot again for a write that is held, waits for the mutex
 * meanwhile.
 *
 * The log says less only when a block is written next; until then a crash costs a rescan more.
 *
 * If the log can't be written, writes go on (all is durable then), and first it is tried to have
 * its header say that it is not to be believed; that is tried again for as long as the device is
 * attached. In memory all is as good as ever, so a clean end makes a log that can be written again
 * good again.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "events.h"
#include "filter.h"
#include "intent.h"
#include "record.h"
#include "write.h"

#define RETRY_DELAY (5 * HZ)
#define LOOK_DELAY (HZ / 20)

/* Not the device's own: this waits for the device to be opened, which may have to write to it. */
static struct workqueue_struct *intent_queue;

static u64 region_of(const struct tl_intent *intent, sector_t sector)
{
	return sector >> intent->region_shift;
}

/* The part of the bitmaps that a block of the log holds. */
static size_t block_words(const struct tl_intent *intent, u64 block, u64 *first)
{
	u64 words = BITS_TO_LONGS(intent->regions);

	*first = block * (TL_LOG_BLOCK_BITS / BITS_PER_LONG);
	return min_t(u64, words - *first, TL_LOG_BLOCK_BITS / BITS_PER_LONG);
}

/* The block says what is hot: so it is durable. */
static void admit_block(struct tl_intent *intent, u64 block)
{
	u64 first;
	size_t i, words = block_words(intent, block, &first);

	for (i = first; i < first + words; i++)
		WRITE_ONCE(intent->durable[i], intent->hot[i]);
}

static int write_block(struct tl_intent *intent, u64 block)
{
	u64 first;
	size_t words = block_words(intent, block, &first);
	int error;

	error = tl_log_write(intent->log, 1 + block, TL_LOG_REGIONS, intent->hot + first,
			     words * sizeof(long), REQ_FUA);
	if (!error) {
		__clear_bit(block, intent->stale);
		admit_block(intent, block);
	}
	return error;
}

/* The log says that writes go on, so those go on whose regions it has. Under mutex. */
void tl_intent_open_locked(struct tl_intent *intent)
{
	u64 block;

	for (block = 0; block < intent->region_blocks; block++) {
		if (!test_bit(block, intent->stale))
			admit_block(intent, block);
	}
	WRITE_ONCE(intent->state, TL_INTENT_OPEN);
}

static struct tl_log *witness_of(struct tl_intent *intent, u64 *block)
{
	*block = intent->witness ? 0 : 1 + intent->region_blocks + 2 * intent->map_blocks;
	return intent->witness ?: intent->log;
}

bool tl_intent_can_be_believed(struct tl_intent *intent)
{
	struct tl_log_witness says = {};
	u64 block;
	struct tl_log *log = witness_of(intent, &block);

	intent->believed = !tl_log_read(log, block, TL_LOG_WITNESS, 0, &says, sizeof(says)) &&
			   says.valid == cpu_to_le32(1);
	return intent->believed;
}

static int write_witness(struct tl_intent *intent, bool valid)
{
	struct tl_log_witness says = { .valid = cpu_to_le32(valid) };
	u64 block;
	struct tl_log *log = witness_of(intent, &block);
	int error = tl_log_write(log, block, TL_LOG_WITNESS, &says, sizeof(says),
				 REQ_PREFLUSH | REQ_FUA);

	intent->believed = !error && valid;
	return error;
}

/*
 * The witness is elsewhere, best on the volume itself: where the log can't be written any more, it
 * still can be, or there are no changes to lose. A log is believed if header and witness agree.
 */
int tl_intent_write_header(struct tl_intent *intent, enum tl_log_state state)
{
	int error = 0;

	if (state == TL_LOG_INVALID)
		error = write_witness(intent, false);
	else if (!intent->believed)
		error = write_witness(intent, true);
	if (error && state != TL_LOG_INVALID)
		return error;
	intent->header.state = cpu_to_le32(state);
	intent->header_stale = false;
	/* One of the two is enough to say that it is invalid. */
	if (!tl_log_write(intent->log, 0, TL_LOG_HEADER, &intent->header, sizeof(intent->header),
			  REQ_PREFLUSH | REQ_FUA))
		return 0;
	return state == TL_LOG_INVALID ? error : -EIO;
}

/* What was committed is in the header before the regions of it are not in the log any more. */
static int write_stale_blocks(struct tl_intent *intent)
{
	u64 block;
	int error = 0;

	if (intent->header_stale && intent->state == TL_INTENT_OPEN)
		error = tl_intent_write_header(intent, TL_LOG_OPEN);
	if (error)
		return error;
	for_each_set_bit(block, intent->stale, intent->region_blocks) {
		error = write_block(intent, block);
		if (error)
			break;
	}
	return error;
}

static void invalidate(struct tl_intent *intent)
{
	intent->invalid = !tl_intent_write_header(intent, TL_LOG_INVALID);
	if (!intent->invalid)
		queue_delayed_work(intent_queue, &intent->work, RETRY_DELAY);
}

/* Under mutex. Writes go on, after the log had its chance to say that they did. */
void tl_intent_fail_locked(struct tl_intent *intent, int error)
{
	if (intent->state == TL_INTENT_FAILED)
		return;
	intent->error = error;
	invalidate(intent);
	tl_event(TOWLINE_EVENT_LOG_FAILED, &intent->device->uuid, error, 0);
	pr_err("%u:%u: the intent log can't be written (error %d); writes go on. %s\n",
	       MAJOR(intent->device->number), MINOR(intent->device->number), error,
	       intent->invalid ? "It says so: after a crash the device has to be scanned" :
				 "It can't be made to say so: a crash must be taken for unknown");
	bitmap_fill(intent->durable, intent->regions);
	WRITE_ONCE(intent->state, TL_INTENT_FAILED);
}

static void write_locked(struct tl_intent *intent)
{
	int error = 0;

	if (intent->state == TL_INTENT_CLEAN) {
		error = tl_intent_write_header(intent, TL_LOG_OPEN);
		if (!error)
			tl_intent_open_locked(intent);
	}
	if (!error)
		error = write_stale_blocks(intent);
	if (error)
		tl_intent_fail_locked(intent, error);
}

/*
 * A write to these sectors waits: what the log has to say for it. Beyond its end it says nothing.
 * Under mutex.
 */
void tl_intent_want(struct tl_intent *intent, sector_t first, u32 sectors)
{
	u64 region = region_of(intent, first);
	u64 last = region_of(intent, first + sectors - 1);

	for (; region <= last && region < intent->regions; region++) {
		if (!__test_and_set_bit(region, intent->hot))
			__set_bit(region / TL_LOG_BLOCK_BITS, intent->stale);
	}
}

bool tl_intent_admits_slowly(const struct tl_intent *intent, u64 first, u64 last)
{
	enum tl_intent_state state = READ_ONCE(intent->state);
	u64 end = min(last + 1, intent->regions);

	if (state == TL_INTENT_FAILED)
		return true;
	return state == TL_INTENT_OPEN &&
	       find_next_zero_bit(intent->durable, end, first) >= end;
}

/*
 * By the device's worker, for a write that waits: true if it did for the log and does no more.
 * Others in the line are seen to with it.
 */
bool tl_intent_make_way(struct tl_device *device, sector_t first, u32 sectors)
{
	struct tl_intent *intent = device->intent;
	bool done = true;

	if (!intent || tl_intent_admits(intent, first, sectors))
		return false;
	mutex_lock(&intent->mutex);
	if (intent->state == TL_INTENT_STARTING || intent->state == TL_INTENT_LEFT) {
		done = false;
	} else {
		tl_intent_want(intent, first, sectors);
		tl_filter_want_held(device);
		write_locked(intent);
	}
	mutex_unlock(&intent->mutex);
	return done;
}

/* Whether the bio is the log's own: no change of the device, and never held. */
bool tl_intent_is_own(const struct tl_intent *intent, const struct bio *bio)
{
	bio_end_io_t *end_io;
	void *private;

	tl_write_unwrap(bio, &end_io, &private);
	return tl_log_is_bio_of(intent->log, end_io, private) ||
	       (intent->witness && tl_log_is_bio_of(intent->witness, end_io, private));
}

/* A superblock is being written: what it will say has to be known after a crash. */
void tl_intent_look(struct tl_intent *intent)
{
	WRITE_ONCE(intent->superblock_written, true);
	queue_delayed_work(intent_queue, &intent->work, LOOK_DELAY);
}

/*
 * Under tl_lock, gates may be closed. Writes were missed, or the device shrank, and may grow back
 * with other content: the log must not be believed after a crash.
 */
void tl_intent_doubt(struct tl_device *device, int error)
{
	if (!device->intent)
		return;
	WRITE_ONCE(device->intent->doubt, error);
	mod_delayed_work(intent_queue, &device->intent->work, 0);
}

/* Under tl_lock. What is beyond the bits is not pending. */
void tl_intent_set_pending(struct tl_intent *intent, const unsigned long *bits, size_t bytes)
{
	size_t room = BITS_TO_LONGS(intent->regions) * sizeof(long);

	memset(intent->pending, 0, room);
	if (bits)
		memcpy(intent->pending, bits, min(bytes, room));
}

static bool is_clean(const struct tl_device *device, u64 region)
{
	const struct tl_intent *intent = device->intent;
	sector_t first = (sector_t)region << intent->region_shift;
	sector_t last = first + (1ULL << intent->region_shift) - 1;
	u64 from = first >> device->block_shift, to = last >> device->block_shift;

	return !test_bit(region, intent->pending) &&
	       !tl_map_has(device->present, from, to) &&
	       !(device->frozen && tl_map_has(device->frozen, from, to));
}

/* Of what is not committed. */
static __le32 trust_of(const struct tl_device *device)
{
	return cpu_to_le32(device->frozen ? max(device->trust, device->trust_frozen) :
					    device->trust);
}

/* Whether it is worth flushing the device for. Under tl_lock. */
bool tl_intent_can_cool(const struct tl_device *device)
{
	const struct tl_intent *intent = device->intent;
	u64 region;

	if (!intent || READ_ONCE(intent->state) != TL_INTENT_OPEN)
		return false;
	if (intent->header.trust != trust_of(device))
		return true;
	for_each_set_bit(region, intent->durable, intent->regions) {
		if (is_clean(device, region))
			return true;
	}
	return false;
}

/*
 * Under tl_lock. All that is not in the present map is on the device's disk, and on that of the
 * target if it is not in the frozen map or pending.
 */
void tl_intent_cool(struct tl_device *device)
{
	struct tl_intent *intent = device->intent;
	bool cooled = false;
	u64 region;

	mutex_lock(&intent->mutex);
	if (intent->state != TL_INTENT_OPEN) {
		mutex_unlock(&intent->mutex);
		return;
	}
	bitmap_zero(intent->cooling, intent->regions);
	for_each_set_bit(region, intent->durable, intent->regions) {
		if (is_clean(device, region)) {
			__set_bit(region, intent->cooling);
			clear_bit(region, intent->durable);
		}
	}
	tl_writes_visit(device);
	for_each_set_bit(region, intent->cooling, intent->regions) {
		if (is_clean(device, region)) {
			__clear_bit(region, intent->hot);
			__set_bit(region / TL_LOG_BLOCK_BITS, intent->stale);
			cooled = true;
		} else {
			set_bit(region, intent->durable);
		}
	}
	cooled |= intent->header.trust != trust_of(device);
	if (cooled) {
		intent->header.trust = trust_of(device);
		intent->header.sequence_committed = cpu_to_le64(device->sequence_committed);
		intent->header_stale = true;
	}
	mutex_unlock(&intent->mutex);
	if (cooled)
		queue_delayed_work(intent_queue, &intent->work, LOOK_DELAY);
}

/*
 * Under tl_lock, with writes held: while it could not be written, writes went on to regions that it
 * does not have. Whatever is marked is in the log when this returns 0.
 */
int tl_intent_heat_marked_locked(struct tl_intent *intent)
{
	u64 region;

	for_each_clear_bit(region, intent->hot, intent->regions) {
		if (!is_clean(intent->device, region)) {
			__set_bit(region, intent->hot);
			__set_bit(region / TL_LOG_BLOCK_BITS, intent->stale);
		}
	}
	return write_stale_blocks(intent);
}

u64 tl_intent_hot_count(struct tl_intent *intent)
{
	u64 count;

	mutex_lock(&intent->mutex);
	count = bitmap_weight(intent->hot, intent->regions);
	mutex_unlock(&intent->mutex);
	return count;
}

/* What can wait, and must not be waited for by a write: by the state, what there is to do. */
static void intent_work(struct work_struct *work)
{
	struct tl_intent *intent = container_of(to_delayed_work(work), struct tl_intent, work);
	struct tl_place place = tl_device_place(intent->device);
	struct tl_bdev opened;
	bool is_open = !tl_place_open(&place, &opened);
	int error;

	mutex_lock(&intent->mutex);
	if (intent->state == TL_INTENT_FAILED && !intent->invalid) {
		invalidate(intent);
	} else if (intent->state == TL_INTENT_OPEN) {
		error = READ_ONCE(intent->doubt);
		if (!error && is_open && xchg(&intent->superblock_written, false))
			error = tl_record_refresh_locked(intent, opened.bdev);
		if (!error)
			error = write_stale_blocks(intent);
		if (error)
			tl_intent_fail_locked(intent, error);
	}
	mutex_unlock(&intent->mutex);
	if (is_open)
		tl_bdev_close(&opened);
}

/* Once the device is in nobody's way any more, and what this needs to be freed has ended. */
bool tl_intent_is_idle(struct tl_intent *intent)
{
	cancel_delayed_work_sync(&intent->work);
	return tl_log_is_idle(intent->log) &&
	       (!intent->witness || tl_log_is_idle(intent->witness));
}

void tl_intent_prepare(struct tl_intent *intent)
{
	mutex_init(&intent->mutex);
	INIT_DELAYED_WORK(&intent->work, intent_work);
}

/* It is idle. */
void tl_intent_free(struct tl_intent *intent)
{
	if (!intent)
		return;
	tl_log_free(intent->log);
	tl_log_free(intent->witness);
	tl_map_put(intent->present);
	tl_map_put(intent->frozen);
	vfree(intent->hot);
	vfree(intent->durable);
	vfree(intent->cooling);
	vfree(intent->pending);
	kfree(intent->stale);
	kfree(intent);
}

int tl_intents_init(void)
{
	intent_queue = alloc_workqueue("towline-intent", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	return intent_queue ? 0 : -ENOMEM;
}

/* No device is left. */
void tl_intents_exit(void)
{
	destroy_workqueue(intent_queue);
}
