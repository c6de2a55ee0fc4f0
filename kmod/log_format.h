/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_LOG_FORMAT_H
#define TOWLINE_LOG_FORMAT_H

#include <linux/sizes.h>
#include <linux/types.h>
#include <linux/uuid.h>

/*
 * An intent log on its device; docs/format-intent.md is the grammar. All numbers are little-endian.
 * It is written in blocks of 4 KiB, and each sector of a block says for itself what it is.
 */
#define TL_LOG_MAGIC 0x314745524c574f54ULL /* "TOWLREG1" */
#define TL_LOG_VERSION 1
#define TL_LOG_SECTORS 8 /* in a block */

enum tl_log_kind {
	TL_LOG_HEADER = 1, /* block 0 */
	TL_LOG_REGIONS = 2, /* a bit a region: it may hold changes that no consumer has */
	TL_LOG_PRESENT = 3, /* the maps of a clean end */
	TL_LOG_FROZEN = 4,
	TL_LOG_WITNESS = 5, /* behind them, or in a file of its own */
};

#define TL_LOG_PAYLOAD 464

struct tl_log_sector {
	__le64 magic;
	uuid_t log;
	__le32 crc; /* CRC32C of the sector, with this field zero */
	__le32 kind;
	__le64 index; /* of this sector in the log */
	__le64 generation; /* of the write that brought it; only grows */
	u8 payload[TL_LOG_PAYLOAD];
} __packed;

#define TL_LOG_BLOCK_PAYLOAD (TL_LOG_SECTORS * TL_LOG_PAYLOAD)
#define TL_LOG_BLOCK_BITS (TL_LOG_BLOCK_PAYLOAD * BITS_PER_BYTE)

enum tl_log_state {
	TL_LOG_OPEN = 1, /* writes go on: after a crash the regions are all that is known */
	TL_LOG_CLEAN = 2, /* nothing was written since the maps were saved */
	TL_LOG_INVALID = 3, /* writes went on that are not in it */
};

/* What tells a gap in which nothing was written from one in which something may have been. */
struct tl_log_vouch {
	__le64 sectors; /* of the device */
	__le64 diskseq;
	__le64 boot; /* when this boot began, in seconds since 1970 */
	__le64 sectors_written; /* by the kernel's count; ~0: not counted */
	__le64 superblocks; /* hash of what lies where filesystems have theirs */
	__le64 mount; /* hash of what a mount or a check changes and nothing else does; 0: none */
	__le32 in_use; /* at the clean end somebody could still write unseen */
	__le32 reserved;
	u8 partition[40]; /* its uuid, as text; empty: it has none */
	u8 identity[64]; /* what the program gave: serial number, WWID */
} __packed;

/* The payload of the first sector of block 0; the other seven hold nothing. */
struct tl_log_header {
	__le32 version;
	__le32 state;
	uuid_t tracker;
	__le64 sequence;
	__le64 sequence_committed;
	__le32 block_size;
	__le32 region_size;
	__le64 sectors_logged; /* the regions cover so much; what the device grew by lies beyond */
	__le64 saved; /* generation of the maps that belong to a clean header */
	__le32 has_frozen;
	__le32 trust;
	__le32 trust_frozen;
	__le32 reasons;
	__le32 reasons_frozen;
	__le32 has_witness; /* in a file of its own */
	struct tl_log_vouch vouch;
} __packed;

/* The payload of the first sector of a witness: whether the log may be believed. */
struct tl_log_witness {
	__le32 valid;
} __packed;

#endif
