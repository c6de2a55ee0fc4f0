/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_WRITE_H
#define TOWLINE_WRITE_H

#include "device.h"

/*
 * A write that is in flight, as one tracked device sees it. It takes the place of the bio's
 * completion function; a bio that goes through several tracked devices wears one of each, the last
 * one put on outermost.
 */
struct tl_write {
	struct hlist_node link; /* in_flight or spare of the slot, under its lock */
	struct tl_slot *slot;
	struct tl_device *device;
	bio_end_io_t *end_io; /* what the bio had */
	void *private;
	sector_t first; /* on the device */
	u32 sectors;
	u32 begun; /* low bits of jiffies */
};

/* What a look at all writes in flight found. */
struct tl_writes_seen {
	unsigned int count;
	u32 oldest_ms;
	u64 writes;
	u64 sectors;
	u64 discards;
};

int tl_writes_init(void);
void tl_writes_exit(void);
int tl_writes_create(struct tl_device *device);
void tl_writes_destroy(struct tl_device *device);

bool tl_write_begin(struct tl_device *device, struct bio *bio, sector_t first, u32 sectors);
bool tl_write_is_noted(const struct tl_device *device, const struct bio *bio, sector_t first,
		       u32 sectors);

void tl_write_unwrap(const struct bio *bio, bio_end_io_t **end_io, void **private);

void tl_writes_visit(const struct tl_device *device);
void tl_writes_switch(struct tl_device *device, struct tl_map *next);
void tl_gate_close(struct tl_device *device);
void tl_gate_open(struct tl_device *device);
bool tl_writes_drain(struct tl_device *device, unsigned long timeout);
bool tl_writes_none(const struct tl_device *device);
void tl_writes_look(const struct tl_device *device, struct tl_writes_seen *seen);

#endif
