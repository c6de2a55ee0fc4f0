/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * What towline.ko and a program say to each other over /dev/towline-control.
 *
 * Every struct that an ioctl takes begins with its own size, as the program was compiled with it.
 * A struct only ever grows at its end: the module reads what it knows and takes what is missing
 * for zero; it refuses (E2BIG) a longer one in which anything that it does not know is not zero.
 * It writes back no more than the size it was given. Flags and reserved fields that it does not
 * know are refused (EINVAL), never ignored.
 *
 * A tracked device is named by the uuid that attaching it gave: device numbers are reused, it is
 * not.
 */
#ifndef _UAPI_TOWLINE_H
#define _UAPI_TOWLINE_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define TOWLINE_CONTROL_PATH "/dev/towline-control"
#define TOWLINE_API_VERSION 1

#define TOWLINE_BLOCK_SIZE_MIN 0x1000U
#define TOWLINE_BLOCK_SIZE_MAX 0x100000U
#define TOWLINE_GROUP_MAX 64
#define TOWLINE_TIMEOUT_MS_MAX 60000

struct towline_uuid {
	__u8 bytes[16];
};

/* What the module can do: a bit that is not set is an ioctl or flag that is refused. */
#define TOWLINE_FEATURE_TRACK 0x1ULL
#define TOWLINE_FEATURE_SNAPSHOT 0x2ULL
#define TOWLINE_FEATURE_INTENT_LOG 0x4ULL
#define TOWLINE_FEATURE_EVENTS 0x8ULL
#define TOWLINE_FEATURE_STORE_FILE 0x10ULL /* and growing */

struct towline_version {
	__u32 size;
	__u32 api; /* out: TOWLINE_API_VERSION of the module */
	__u64 features; /* out: TOWLINE_FEATURE_* */
};

/*
 * The intent log: which regions of the device may hold changes that no consumer has is durable
 * before a write to them is let on, so that it is known after a crash; and where both maps are
 * saved at a clean end. It lies in a file of ext4 or xfs that is written in full (no holes, not
 * just allocated) and immutable, or is a block device of its own. See docs/kmod.md.
 */
#define TOWLINE_LOG_USE 0x1U
/* Makes a new log, whatever is in the file; only by log_fd. Without it, what is there is taken. */
#define TOWLINE_LOG_CREATE 0x2U
/*
 * The caller vouches that nothing writes to the device while it is not tracked. Counts only where
 * the device holds no filesystem by which that could be told.
 */
#define TOWLINE_LOG_NO_GAP 0x4U
/*
 * The log has a witness: a file of 4 KiB, of the kind that a log is, best on the volume itself if
 * the log is elsewhere. If the log can't be written any more, the witness is made to say so.
 */
#define TOWLINE_LOG_WITNESS 0x8U

#define TOWLINE_REGION_SIZE_MIN 0x100000U
#define TOWLINE_REGION_SIZE_MAX 0x40000000U
#define TOWLINE_REGION_SIZE_DEFAULT 0x4000000U

struct towline_attach {
	__u32 size;
	__u32 flags; /* none yet */
	__u32 major;
	__u32 minor;
	__u64 diskseq; /* refuse (ESTALE) when the disk is another by now; 0: any */
	__u32 block_size; /* power of two, TOWLINE_BLOCK_SIZE_*; 0: by the device's size */
	__u32 timeout_ms; /* how long to wait for writes begun before; 0: 10 s */
	struct towline_uuid uuid; /* out */
	__u32 log_flags; /* TOWLINE_LOG_*; 0: no log, and what follows is zero */
	__s32 log_fd; /* the file or the block device; not used where extents are given */
	__u64 log_extents; /* address of the extents, as TOWLINE_IOC_EXTENTS told them */
	__u32 log_extent_count; /* 0: none are given */
	__u32 log_major; /* of the device that the extents are on */
	__u32 log_minor;
	__u32 region_size; /* power of two, TOWLINE_REGION_SIZE_*; 0: 64 MiB; only to create */
	__u8 identity[64]; /* what else the device is known by: its serial number, its WWID */
	__u32 trust; /* out: of the present epoch, TOWLINE_TRUST_* */
	__u32 reasons; /* out: TOWLINE_REASON_* */
	__s32 witness_fd; /* only with WITNESS; not used where the log's extents are given */
	__u32 witness_major; /* then, of the device that the witness is on */
	__u32 witness_minor;
	__u32 reserved;
	__u64 witness_sector; /* and where, in units of 512 bytes */
};

/* How large a log has to be. */
static inline __u64 towline_log_bytes(__u64 device_bytes, __u32 block_size, __u32 region_size)
{
	__u64 payload = 3712; /* of the 4096 bytes of a block */
	__u64 regions = (device_bytes + region_size - 1) / region_size;
	__u64 blocks = (device_bytes + block_size - 1) / block_size;

	return 4096 * (2 + (regions / 8 + payload) / payload +
		       2 * ((blocks / 8 + payload) / payload));
}

struct towline_detach {
	__u32 size;
	__u32 flags; /* none yet */
	struct towline_uuid uuid;
};

/* How far an epoch's map can be believed. */
#define TOWLINE_TRUST_EXACT 1 /* these blocks were written, and no other */
#define TOWLINE_TRUST_SUPERSET 2 /* every block that was written is among these */
#define TOWLINE_TRUST_UNKNOWN 3 /* writes may have been missed: compare both ends */

/* What happened in an epoch that a report should say. */
#define TOWLINE_REASON_FIRST 0x1U /* it began when the device was attached */
#define TOWLINE_REASON_MERGED 0x2U /* holds earlier epochs that were never committed */
#define TOWLINE_REASON_GREW 0x4U /* the device grew; all that is new is marked */
#define TOWLINE_REASON_SHRANK 0x8U /* it became smaller; what lay beyond is forgotten */
#define TOWLINE_REASON_HOOK_LOST 0x10U /* the hook was not in place: unknown */
#define TOWLINE_REASON_RESTORED 0x20U /* it goes on from a clean end, with nothing lost */
#define TOWLINE_REASON_CRASHED 0x40U /* tracking had no clean end; regions of the log are marked */
#define TOWLINE_REASON_GAP 0x80U /* the device may have been written to untracked: unknown */
#define TOWLINE_REASON_LOG_FAILED 0x100U /* what the log had was lost with it: unknown */

struct towline_epoch {
	struct towline_uuid uuid; /* in */
	__u64 sequence; /* out: the first epoch of a device is 1 */
	__u64 device_bytes; /* out: size when it was frozen */
	__u64 blocks; /* out: bits in the map */
	__u64 blocks_changed; /* out: bits set */
	__u32 block_size; /* out */
	__u32 trust; /* out: TOWLINE_TRUST_* */
	__u32 reasons; /* out: TOWLINE_REASON_* */
	__u32 reserved;
};

/*
 * Without it, no write is held back: one that is in flight is marked in both epochs. With it, new
 * writes wait until all that were begun are complete on every device of the group, so that each
 * write of the group belongs to one epoch. Name an upper device before the ones it stands on. A
 * disk and its own partition can't be of one such group (EINVAL).
 */
#define TOWLINE_FREEZE_DRAIN 0x1U

/*
 * Takes a copy-on-write snapshot of each device of the group at the moment of the freeze, which
 * implies TOWLINE_FREEZE_DRAIN. A device has at most one (EBUSY).
 */
#define TOWLINE_FREEZE_SNAPSHOT 0x2U

/*
 * What is overwritten is kept in a file. It is of ext4 or xfs, with blocks of 4 KiB, wholly
 * allocated and written, or it is a block device that nobody has. Every 4 KiB of it begin with a
 * struct towline_store_block (EILSEQ), or it is not overwritten. Nobody can write, truncate or remove
 * the file while the snapshot stands. It may lie on the origin, which then reads as zero there.
 */
#define TOWLINE_STORE_FILE 0x1U

#define TOWLINE_STORE_BLOCK 4096
#define TOWLINE_STORE_MAGIC "towlstor"

struct towline_store_block {
	__u8 magic[8]; /* TOWLINE_STORE_MAGIC, without a terminator */
	struct towline_uuid store; /* as store_id: drawn anew whenever the file is formatted */
	__u64 number; /* little-endian: of the block in the file, from 0 on */
};

#define TOWLINE_CHUNK_SIZE_MIN 0x1000U
#define TOWLINE_CHUNK_SIZE_MAX 0x100000U

struct towline_snapshot {
	__u64 store_bytes; /* in: room for what is overwritten; of a file, 0: all of it */
	__u32 chunk_size; /* in: power of two, TOWLINE_CHUNK_SIZE_*; 0: 64 KiB */
	__u32 index; /* out: the image is /dev/towline/INDEX */
	__u32 major; /* out */
	__u32 minor; /* out */
	__u32 notify_percent; /* in: an event when the store is that full; 0: none */
	__u32 notify_seconds; /* in: an event when it will be full that soon; 0: none */
	__u32 store_flags; /* in: TOWLINE_STORE_*; without FILE the store is memory */
	__s32 store_fd; /* in: a file, or a block device, open for writing; only with FILE */
	struct towline_uuid store_id; /* in: what its blocks say; only with FILE */
};

struct towline_freeze {
	__u32 size;
	__u32 flags; /* TOWLINE_FREEZE_* */
	__u64 epochs; /* address of count struct towline_epoch */
	__u32 count; /* 1..TOWLINE_GROUP_MAX */
	__u32 epoch_size; /* sizeof(struct towline_epoch) */
	__u32 timeout_ms; /* of draining, for the whole group; 0: 1 s */
	__u32 held_us; /* out: how long writes were held back */
	__u64 snapshots; /* address of count struct towline_snapshot; only with SNAPSHOT */
	__u32 snapshot_size; /* sizeof(struct towline_snapshot); 32 in the first version */
	__u32 reserved;
};

/* The snapshot failed: its image gives EIO, and nothing is copied for it any more. */
#define TOWLINE_SNAPSHOT_FAILED 0x1U

struct towline_snapshot_status {
	__u32 size;
	__u32 flags; /* out: TOWLINE_SNAPSHOT_* */
	struct towline_uuid uuid; /* in: of the device */
	__u64 sequence; /* out: of the epoch that ended when it was taken */
	__u64 chunks_stored; /* out */
	__u64 chunks_max; /* out: what the store holds */
	__u32 chunk_size; /* out */
	__u32 index; /* out: the image is /dev/towline/INDEX */
	__s32 error; /* out: why it failed, as a negative errno */
	__u32 reserved;
	__u64 forecast_seconds; /* out: until the store is full, by the rate of the last seconds */
};

#define TOWLINE_FORECAST_NONE (~0ULL) /* nothing was stored of late */

struct towline_snapshot_delete {
	__u32 size;
	__u32 flags; /* none yet */
	struct towline_uuid uuid; /* of the device */
};

/*
 * More room for a snapshot that stands: memory, or a file as at its beginning. A file on a device
 * that has a snapshot is refused (EBUSY), the origin among them: what was there had to be kept first.
 * So is one of a filesystem that is frozen (EBUSY). A store has 16 parts at most (ENOSPC).
 */
struct towline_snapshot_grow {
	__u32 size;
	__u32 store_flags; /* TOWLINE_STORE_* */
	struct towline_uuid uuid; /* of the device */
	__u64 store_bytes;
	__s32 store_fd;
	__u32 reserved;
	struct towline_uuid store_id;
};

/* TOWLINE_IOC_COMMIT and TOWLINE_IOC_GIVE_BACK: the end of a frozen epoch. */
struct towline_settle {
	__u32 size;
	__u32 flags; /* none yet */
	struct towline_uuid uuid;
	__u64 sequence;
	/*
	 * Only to commit: regions that any consumer has pending, a bit each as in a map, stay in
	 * the log until a later commit leaves them out.
	 */
	__u64 pending; /* address of the bits; 0: none are */
	__u64 pending_bytes;
};

struct towline_map {
	__u32 size;
	__u32 flags; /* none yet */
	struct towline_uuid uuid;
	__u64 sequence; /* of the frozen epoch */
	__u64 bytes; /* out: length to mmap, in whole pages */
	__s32 fd; /* out: to be mmap-ed PROT_READ at offset 0, then closed */
	__u32 reserved;
};

/* Bit n of the map, counted from the lowest bit of the first byte on, is block n. */

#define TOWLINE_LATENCY_BUCKETS 24

struct towline_status {
	__u32 size;
	__u32 flags; /* out: TOWLINE_STATUS_* */
	struct towline_uuid uuid; /* in */
	__u32 major;
	__u32 minor;
	__u64 diskseq;
	__u64 first_sector; /* of the device on its disk, in units of 512 bytes */
	__u64 device_bytes;
	__u64 sequence; /* of the present epoch */
	__u64 sequence_frozen; /* 0: none is frozen */
	__u64 sequence_committed; /* 0: none was */
	__u64 memory_bytes; /* maps and what is set aside for writes in flight */
	__u32 block_size;
	__u32 writes_in_flight;
	__u32 oldest_write_ms; /* age of the longest of these */
	__u32 writes_held; /* waiting to be let on */
	__u64 writes_seen;
	__u64 bytes_seen;
	__u64 discards_seen; /* of the writes: discard, secure erase, write-zeroes */
	__u64 writes_deferred; /* of the writes: those that had to wait */
	__u64 copy_waits; /* of these: those that waited for a chunk to be kept for a snapshot */
	__u64 copies; /* chunks that were kept, for all snapshots so far */
	/* Bucket 0: less than 1 us; bucket n: 2^(n-1) us to 2^n us; the last one: all longer ones. */
	__u64 held_times[TOWLINE_LATENCY_BUCKETS]; /* of writes_deferred */
	__u64 copy_times[TOWLINE_LATENCY_BUCKETS]; /* of copies */
};

#define TOWLINE_STATUS_GONE 0x1U /* the disk was removed, or is another now */
#define TOWLINE_STATUS_UNKNOWN 0x2U /* the present epoch's trust is unknown by now */
#define TOWLINE_STATUS_LOG 0x4U /* it has an intent log */
#define TOWLINE_STATUS_LOG_FAILED 0x8U /* it can't be written: after a crash, unknown */

/* A part of a device, in units of 512 bytes. */
struct towline_extent {
	__u64 first_sector;
	__u64 sectors;
};

#define TOWLINE_EXTENTS_MAX 65536

/*
 * Where a file lies on its device: what an attach without the file is given (in an initramfs).
 * The file has to be one whose blocks stay where they are; TOWLINE_ATTACH says which.
 */
struct towline_extents {
	__u32 size;
	__u32 flags; /* none yet */
	__s32 fd; /* of a file, or of a block device */
	__u32 capacity;
	__u64 extents; /* address of capacity struct towline_extent */
	__u32 count; /* out: how many there are, which may be more than capacity */
	__u32 major; /* out: of the device */
	__u32 minor; /* out */
	__u32 reserved;
};

/* Of the intent log of a device; ENOENT: it has none. */
struct towline_log_status {
	__u32 size;
	__s32 error; /* out: why it failed, as a negative errno; 0: it has not */
	struct towline_uuid uuid; /* in: of the device */
	__u64 regions; /* out */
	__u64 regions_hot; /* out: those that would be rescanned after a crash now */
	__u64 blocks_written; /* out: to the log, 4 KiB each */
	__u32 region_size; /* out */
	__u32 flags; /* none yet */
	/*
	 * The log's own ranges on the device, by units of 512 bytes from its start, if it is there:
	 * no map has them, images read as zero there, and digests have to leave them out.
	 */
	__u64 ranges; /* address of capacity struct towline_extent */
	__u32 capacity;
	__u32 count; /* out: how many there are, which may be more than capacity */
};

struct towline_list {
	__u32 size;
	__u32 flags; /* none yet */
	__u64 uuids; /* address of capacity struct towline_uuid */
	__u32 capacity;
	__u32 count; /* out: how many there are, which may be more than capacity */
};

/*
 * What read() of the control device gives: as many whole events as there are and as fit, of those
 * since the file was opened. It waits for one, unless the file is O_NONBLOCK; poll() tells when
 * there is one. The module keeps the last 128: a reader who was too late for some is told so.
 */
#define TOWLINE_EVENT_LOST 1 /* value: how many events were lost to this reader */
#define TOWLINE_EVENT_GONE 2 /* the disk was removed, or is another now */
#define TOWLINE_EVENT_TRUST_LOST 3 /* the present epoch's trust is unknown by now */
#define TOWLINE_EVENT_SNAPSHOT_FILL 4 /* notify_percent was reached; value: bytes left */
#define TOWLINE_EVENT_SNAPSHOT_FORECAST 5 /* notify_seconds was reached; value: seconds left */
#define TOWLINE_EVENT_SNAPSHOT_FAILED 6 /* error: why */
#define TOWLINE_EVENT_LOG_FAILED 7 /* the intent log can't be written; error: why */

struct towline_event {
	__u64 sequence; /* number of the event; without a gap but for those that were lost */
	__u64 time_ns; /* CLOCK_BOOTTIME */
	struct towline_uuid uuid; /* of the device */
	__u32 kind; /* TOWLINE_EVENT_*; one that is not known is to be passed over */
	__s32 error; /* a negative errno, or 0 */
	__u64 value;
	__u64 reserved[2];
};

#define TOWLINE_IOC_TYPE 0xB5

#define TOWLINE_IOC_VERSION _IO(TOWLINE_IOC_TYPE, 0) /* struct towline_version */
#define TOWLINE_IOC_ATTACH _IO(TOWLINE_IOC_TYPE, 1) /* struct towline_attach */
#define TOWLINE_IOC_DETACH _IO(TOWLINE_IOC_TYPE, 2) /* struct towline_detach */
#define TOWLINE_IOC_LIST _IO(TOWLINE_IOC_TYPE, 3) /* struct towline_list */
#define TOWLINE_IOC_STATUS _IO(TOWLINE_IOC_TYPE, 4) /* struct towline_status */
#define TOWLINE_IOC_FREEZE _IO(TOWLINE_IOC_TYPE, 5) /* struct towline_freeze */
#define TOWLINE_IOC_MAP _IO(TOWLINE_IOC_TYPE, 6) /* struct towline_map */
#define TOWLINE_IOC_COMMIT _IO(TOWLINE_IOC_TYPE, 7) /* struct towline_settle */
#define TOWLINE_IOC_GIVE_BACK _IO(TOWLINE_IOC_TYPE, 8) /* struct towline_settle */
#define TOWLINE_IOC_SNAPSHOT_STATUS _IO(TOWLINE_IOC_TYPE, 9) /* struct towline_snapshot_status */
#define TOWLINE_IOC_SNAPSHOT_DELETE _IO(TOWLINE_IOC_TYPE, 10) /* struct towline_snapshot_delete */

#define TOWLINE_IOC_EXTENTS _IO(TOWLINE_IOC_TYPE, 11) /* struct towline_extents */

#define TOWLINE_IOC_LOG_STATUS _IO(TOWLINE_IOC_TYPE, 12) /* struct towline_log_status */
#define TOWLINE_IOC_SNAPSHOT_GROW _IO(TOWLINE_IOC_TYPE, 13) /* struct towline_snapshot_grow */

#endif /* _UAPI_TOWLINE_H */
