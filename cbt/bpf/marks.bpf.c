// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Marks the blocks that are written on one disk, or on a range of it that a partition has.
 *
 * A write is marked when it is submitted, in the epoch of that moment, and again in the epoch in
 * which it ends. So one that is in flight when the epochs switch is marked in both, and whichever of
 * them is read before its data arrive, the other one has it. Marks at the submission alone lose
 * blocks as soon as a disk is slow.
 *
 * - Devices with a request queue: `completed_*` marks at the end. A program that interrupts itself
 *   on a processor is not run (the kernel counts it as a recursion miss), and completions do come
 *   in interrupts: one disk's in the middle of another's. Hence three equal ones. A processor is in
 *   at most three contexts at once (task, softirq, hardirq), of which two can have been interrupted
 *   within one of them each, so that every completion is seen by one of them at least. Each counts
 *   the sectors that it saw: where the disk itself counts more, some kernel runs no programs in
 *   some places (cbt/bpf/tally.cpp).
 * - Devices that take bios as they are (dm, md, zram): what arrives at the end may have been moved,
 *   split or shortened, so `queued` notes where each write goes in `unfinished`, and `ended` takes
 *   it out. Whoever switches the epochs marks what is still in there in the new one. An end that is
 *   missed leaves an entry too many, which costs a block that is sent for nothing.
 *
 * `active` is read once a mark. A process that has switched it waits for an RCU grace period before
 * it reads the other half: the programs run inside of RCU.
 *
 * Dual licence: the kernel lets a program look into its structures only where that says GPL.
 * The structures are declared here as far as they are used; libbpf finds their true offsets in the
 * running kernel, so that no kernel's headers are needed to build this.
 */
#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#include "cbt/bpf/marks_layout.h"

#define KERNEL_STRUCT __attribute__((preserve_access_index))

struct gendisk;

struct block_device {
	struct gendisk *bd_disk;
	__u32 bd_dev;
} KERNEL_STRUCT;

struct gendisk {
	struct block_device *part0;
} KERNEL_STRUCT;

struct bvec_iter {
	__u64 bi_sector;
	__u32 bi_size;
} KERNEL_STRUCT;

struct bio {
	struct bio *bi_next;
	struct block_device *bi_bdev;
	__u32 bi_opf;
	struct bvec_iter bi_iter;
} KERNEL_STRUCT;

struct request_queue {
	struct gendisk *disk;
} KERNEL_STRUCT;

struct request {
	struct request_queue *q;
	__u32 cmd_flags;
	__u64 __sector;
	struct bio *bio;
} KERNEL_STRUCT;

/* Of enum req_op: these numbers have stayed. The odd ones are those that change data. */
#define OP_MASK 0xff
#define OP_IS_WRITE 1
#define OP_DISCARD 3
#define OP_SECURE_ERASE 5
#define OP_DRV_OUT 35

#define SECTOR_SHIFT 9
#define WORD_BITS 64
/* More ranges than any driver takes in one discard. */
#define RANGES_MAX 1024
#define UNFINISHED_MAX 65536

char LICENSE[] SEC("license") = "GPL";

const volatile __u32 disk_number;
const volatile __u64 first_sector;
const volatile __u64 sector_count;
const volatile __u32 block_sectors_shift;
const volatile __u64 half_words; /* of 64 marks, an epoch */
const volatile __u32 whole_disk;
const volatile __u32 bio_based;

struct tl_control control SEC(".data.control");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set when it is loaded: twice half_words */
	__type(key, __u32);
	__type(value, __u64);
} marks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, UNFINISHED_MAX);
	__type(key, __u64);
	__type(value, struct tl_unfinished);
} unfinished SEC(".maps");

/*
 * Never read. To put a map into a map of maps returns only when every program has ended that may
 * have been using the old one: the grace period, for whoever switches epochs.
 */
struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} barrier_inner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct inner);
} barrier SEC(".maps") = { .values = { &barrier_inner } };

static __always_inline struct tl_write_slot *slot(void)
{
	return &control.slots[bpf_get_smp_processor_id() % TL_WRITE_SLOTS];
}

struct span {
	__u64 first; /* blocks */
	__u64 last;
	__u64 base; /* of the epoch's half, in words */
};

static __always_inline void mark_word(__u64 index, __u64 bits)
{
	__u32 key = (__u32)index;
	__u64 *word = bpf_map_lookup_elem(&marks, &key);

	/* Marks are cleared only in a half that no program uses any more. */
	if (word && (*word & bits) != bits)
		__sync_fetch_and_or(word, bits);
}

static __always_inline __u64 bits_of(const struct span *span, __u64 word)
{
	__u64 bits = ~0ULL;

	if (word == span->first / WORD_BITS)
		bits <<= span->first % WORD_BITS;
	if (word == span->last / WORD_BITS)
		bits &= ~0ULL >> (WORD_BITS - 1 - span->last % WORD_BITS);
	return bits;
}

static long mark_nth_word(__u32 n, void *context)
{
	const struct span *span = context;
	__u64 word = span->first / WORD_BITS + n;

	mark_word(span->base + word, bits_of(span, word));
	return 0;
}

static __always_inline void mark(__u64 sector, __u64 sectors)
{
	__u64 end = sector + sectors;
	struct span span;
	__u64 words;

	if (!sectors || end <= first_sector)
		return;
	sector = sector > first_sector ? sector - first_sector : 0;
	end -= first_sector;
	if (end > sector_count) {
		if (whole_disk)
			__sync_fetch_and_add(&control.beyond, 1);
		end = sector_count;
	}
	if (sector >= end)
		return;
	span.first = sector >> block_sectors_shift;
	span.last = (end - 1) >> block_sectors_shift;
	span.base = control.active ? half_words : 0;
	words = span.last / WORD_BITS - span.first / WORD_BITS + 1;
	if (words == 1)
		mark_word(span.base + span.first / WORD_BITS,
			  bits_of(&span, span.first / WORD_BITS));
	else
		bpf_loop((__u32)words, mark_nth_word, &span, 0);
}

static __always_inline void note_unfinished(struct bio *bio, __u64 sector, __u64 sectors)
{
	struct tl_unfinished entry = { .sector = sector, .sectors = sectors };
	__u64 key = (__u64)bio;

	if (bpf_map_update_elem(&unfinished, &key, &entry, BPF_ANY))
		__sync_fetch_and_add(&control.untraced, 1);
}

/* A partition's bio has been moved to its disk's sectors when it comes here. */
SEC("tp_btf/block_bio_queue")
int BPF_PROG(queued, struct bio *bio)
{
	__u64 sector, sectors;

	if (bio->bi_bdev->bd_disk->part0->bd_dev != disk_number)
		return 0;
	if (control.probe) {
		control.probe_queued = 1;
		if (bio_based && !(bio->bi_opf & OP_IS_WRITE))
			note_unfinished(bio, 0, 0);
	}
	sectors = bio->bi_iter.bi_size >> SECTOR_SHIFT;
	if (!(bio->bi_opf & OP_IS_WRITE) || !sectors)
		return 0;
	sector = bio->bi_iter.bi_sector;
	slot()->writes++;
	__sync_fetch_and_add(&slot()->queued, sectors);
	/* Before the mark: a switch between the two finds it, and marks it in the new epoch. */
	if (bio_based)
		note_unfinished(bio, sector, sectors);
	mark(sector, sectors);
	return 0;
}

static long mark_nth_range(__u32 n, void *context)
{
	struct bio **next = context;
	struct bio *bio = *next;

	if (!bio)
		return 1;
	mark(BPF_CORE_READ(bio, bi_iter.bi_sector),
	     BPF_CORE_READ(bio, bi_iter.bi_size) >> SECTOR_SHIFT);
	*next = BPF_CORE_READ(bio, bi_next);
	return 0;
}

/* Discards of several places can be one request; only its bios know where they are. */
static __always_inline void mark_ranges(struct request *request)
{
	struct bio *next = (struct bio *)BPF_CORE_READ(request, bio);

	bpf_loop(RANGES_MAX, mark_nth_range, &next, 0);
	if (next)
		__sync_fetch_and_add(&control.untraced, 1);
}

static __always_inline int mark_completed(struct request *request, __u32 bytes, int program)
{
	__u32 op = request->cmd_flags & OP_MASK;

	if (request->q->disk->part0->bd_dev != disk_number)
		return 0;
	if (control.probe)
		control.probe_completed = 1;
	if (!(op & OP_IS_WRITE))
		return 0;
	if (op == OP_DRV_OUT) {
		__sync_fetch_and_add(&control.passthrough, 1);
		return 0;
	}
	if (op == OP_DISCARD || op == OP_SECURE_ERASE)
		mark_ranges(request);
	else
		mark(request->__sector, bytes >> SECTOR_SHIFT);
	/* After the mark: what is counted is marked. */
	__sync_fetch_and_add(&slot()->completed[program], bytes >> SECTOR_SHIFT);
	return 0;
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(completed_1, struct request *request, int error, unsigned int bytes)
{
	return mark_completed(request, bytes, 0);
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(completed_2, struct request *request, int error, unsigned int bytes)
{
	return mark_completed(request, bytes, 1);
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(completed_3, struct request *request, int error, unsigned int bytes)
{
	return mark_completed(request, bytes, 2);
}

SEC("tp_btf/block_bio_complete")
int BPF_PROG(ended, struct request_queue *queue, struct bio *bio)
{
	__u64 key = (__u64)bio;
	struct tl_unfinished *entry = bpf_map_lookup_elem(&unfinished, &key);

	if (!entry)
		return 0;
	if (!entry->sectors)
		control.probe_completed = 1;
	bpf_map_delete_elem(&unfinished, &key);
	return 0;
}
