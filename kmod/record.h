/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_RECORD_H
#define TOWLINE_RECORD_H

#include "intent.h"

/* What the log says of the device as a whole, from one attach to the next; see record.c. */

/* What an attach asks for, in the kernel's memory. */
struct tl_record_wish {
	struct tl_extents *extents;
	struct tl_extents *witness; /* NULL: in the log itself */
	u32 region_size; /* 0: as by default; if it is not to be created, as in the log */
	bool create;
	bool no_gap;
	u8 identity[64];
};

struct tl_intent *tl_record_open(struct tl_record_wish *wish, sector_t sectors, u32 block_size);
u64 tl_record_map_block(const struct tl_intent *intent, enum tl_log_kind kind, u64 block);
int tl_record_write_map(struct tl_intent *intent, enum tl_log_kind kind, const struct tl_map *map);
u32 tl_record_block_size(const struct tl_intent *intent);
int tl_record_begin(struct tl_device *device, struct block_device *bdev);
void tl_record_end(struct tl_device *device, bool leaving);
int tl_record_refresh_locked(struct tl_intent *intent, struct block_device *bdev);
bool tl_record_own_list(const struct tl_device *device, struct towline_extent **list, u32 *count);
u32 tl_record_own_ranges(const struct tl_device *device, struct towline_extent *list, u32 capacity);

#endif
