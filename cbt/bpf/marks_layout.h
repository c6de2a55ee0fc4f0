/* SPDX-License-Identifier: Apache-2.0 */
/* What the eBPF programs share with the processes that read their maps, in C for both. */
#ifndef TOWLINE_BPF_MARKS_LAYOUT_H
#define TOWLINE_BPF_MARKS_LAYOUT_H

#define TL_CACHE_LINE 64

/*
 * A line for each processor, so that a write touches none that another one writes to. Processors
 * beyond these share lines; their counts may come out low, and still change with each write.
 */
#define TL_WRITE_SLOTS 256

#define TL_COMPLETIONS 3

struct tl_write_slot {
	unsigned long long writes;
	/* Sectors of changes, as each program saw them go by: submitted, and completed. */
	unsigned long long queued;
	unsigned long long completed[TL_COMPLETIONS];
} __attribute__((aligned(TL_CACHE_LINE)));

/* Of the processes alone, too; cbt/bpf/tally.cpp. */
struct tl_tally {
	/* By how much the disk's own count was ahead of each program's when both were compared. */
	long long ahead[TL_COMPLETIONS];
	unsigned long long misses[TL_COMPLETIONS];
	unsigned long long unseen;
};

/* Of the processes alone; cbt/bpf/epochs.cpp says what it means. The programs never look. */
struct tl_epochs {
	unsigned char tracker[16];
	unsigned int step;
	unsigned int active_next;
	unsigned long long sequence;
	unsigned long long sequence_frozen;
	unsigned long long sequence_committed;
	unsigned long long sequence_given_back;
	unsigned int trust;
	unsigned int trust_frozen;
	unsigned int reasons;
	unsigned int reasons_frozen;
	/* What was already counted when the present epoch began. */
	unsigned long long misses_seen;
	unsigned long long passthrough_seen;
	unsigned long long untraced_seen;
	unsigned long long beyond_seen;
	unsigned long long unseen_seen;
	/* 1: every write that the table of unfinished ones lacks has ended. */
	unsigned int settled;
};

/* One map value, pinned and mapped: what is going on, for whichever process comes next. */
struct tl_control {
	/* Which half of the marks the present epoch has. Read by every run, written by processes. */
	unsigned int active __attribute__((aligned(TL_CACHE_LINE)));
	/* 1 asks both hooks for a sign of life at the next request of any kind. */
	unsigned int probe;

	/* Written by the programs: the signs of life, and changes that they could not note. */
	unsigned int probe_queued __attribute__((aligned(TL_CACHE_LINE)));
	unsigned int probe_completed;
	unsigned long long passthrough; /* commands from past the block layer: SG_IO, NVMe */
	unsigned long long untraced; /* no room in `unfinished`, or a request of too many ranges */
	unsigned long long beyond; /* writes behind the end that the device had */

	struct tl_epochs epochs __attribute__((aligned(TL_CACHE_LINE)));
	struct tl_tally tally;
	struct tl_write_slot slots[TL_WRITE_SLOTS];
};

/* A request to a bio-based device, from its submission to its end; sectors 0: not a write. */
struct tl_unfinished {
	unsigned long long sector;
	unsigned long long sectors;
};

#endif
