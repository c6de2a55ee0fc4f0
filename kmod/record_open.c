// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where what is in an intent log, as docs/format-intent.md says it: reading one that is there, and
 * making one. What becomes of what was read is in record.c.
 */
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "record.h"

static u64 blocks_of(const struct tl_intent *intent)
{
	u64 sectors = le64_to_cpu(intent->header.sectors_logged);

	return DIV_ROUND_UP_ULL(sectors << SECTOR_SHIFT, le32_to_cpu(intent->header.block_size));
}

u32 tl_record_block_size(const struct tl_intent *intent)
{
	return le32_to_cpu(intent->header.block_size);
}

/* By the header's numbers, wherever they come from. */
static int lay_out(struct tl_intent *intent)
{
	u32 region_size = le32_to_cpu(intent->header.region_size);
	u32 block_size = le32_to_cpu(intent->header.block_size);
	u64 sectors = le64_to_cpu(intent->header.sectors_logged);

	if (!is_power_of_2(region_size) || region_size < TOWLINE_REGION_SIZE_MIN ||
	    region_size > TOWLINE_REGION_SIZE_MAX || !is_power_of_2(block_size) ||
	    block_size < TOWLINE_BLOCK_SIZE_MIN || block_size > TOWLINE_BLOCK_SIZE_MAX ||
	    !sectors || sectors > U64_MAX >> (SECTOR_SHIFT + 1))
		return -EINVAL;
	intent->region_shift = ilog2(region_size) - SECTOR_SHIFT;
	intent->regions = DIV_ROUND_UP_ULL(sectors, 1ULL << intent->region_shift);
	intent->region_blocks = DIV_ROUND_UP_ULL(intent->regions, TL_LOG_BLOCK_BITS);
	intent->map_blocks = DIV_ROUND_UP_ULL(blocks_of(intent), TL_LOG_BLOCK_BITS);
	if (intent->log->blocks < 2 + intent->region_blocks + 2 * intent->map_blocks)
		return -ENOSPC;

	/* Whole blocks of the log: they are read and written as such. */
	intent->hot = vzalloc(intent->region_blocks * TL_LOG_BLOCK_PAYLOAD);
	intent->durable = vzalloc(intent->region_blocks * TL_LOG_BLOCK_PAYLOAD);
	intent->cooling = vzalloc(intent->region_blocks * TL_LOG_BLOCK_PAYLOAD);
	intent->pending = vzalloc(intent->region_blocks * TL_LOG_BLOCK_PAYLOAD);
	intent->stale = kcalloc(BITS_TO_LONGS(intent->region_blocks), sizeof(long), GFP_KERNEL);
	if (!intent->hot || !intent->durable || !intent->cooling || !intent->pending ||
	    !intent->stale)
		return -ENOMEM;
	return 0;
}

u64 tl_record_map_block(const struct tl_intent *intent, enum tl_log_kind kind, u64 block)
{
	return 1 + intent->region_blocks + block +
	       (kind == TL_LOG_FROZEN ? intent->map_blocks : 0);
}

/* map: NULL: nothing is marked. */
int tl_record_write_map(struct tl_intent *intent, enum tl_log_kind kind, const struct tl_map *map)
{
	u64 block;
	int error = 0;

	for (block = 0; block < intent->map_blocks && !error; block++) {
		size_t at = block * TL_LOG_BLOCK_PAYLOAD;
		size_t bytes = map && at < map->bytes ?
			       min_t(size_t, map->bytes - at, TL_LOG_BLOCK_PAYLOAD) : 0;

		error = tl_log_write(intent->log, tl_record_map_block(intent, kind, block), kind,
				     bytes ? (u8 *)map->words + at : NULL, bytes, 0);
	}
	return error;
}

/* Of a header that is clean. The sectors must be of the very writes that were before it. */
static struct tl_map *read_map(struct tl_intent *intent, enum tl_log_kind kind)
{
	struct tl_map *map = tl_map_create(blocks_of(intent));
	u64 block;
	int error = map ? 0 : -ENOMEM;

	for (block = 0; block < intent->map_blocks && !error; block++) {
		size_t at = block * TL_LOG_BLOCK_PAYLOAD;
		size_t bytes = min_t(size_t, map->bytes - at, TL_LOG_BLOCK_PAYLOAD);
		u64 number = tl_record_map_block(intent, kind, block);

		error = tl_log_read(intent->log, number, kind,
				    le64_to_cpu(intent->header.saved) + number,
				    (u8 *)map->words + at, bytes);
	}
	if (error) {
		tl_map_put(map);
		return ERR_PTR(error);
	}
	return map;
}

/* What is not good of the regions is taken for hot. */
static int read_regions(struct tl_intent *intent)
{
	u64 block;

	for (block = 0; block < intent->region_blocks; block++) {
		int error = tl_log_read(intent->log, 1 + block, TL_LOG_REGIONS, 0,
					(u8 *)intent->hot + block * TL_LOG_BLOCK_PAYLOAD,
					TL_LOG_BLOCK_PAYLOAD);

		if (error && error != -EBADMSG)
			return error;
	}
	return 0;
}

/* Maps that can't be read are not worth more than a crash. */
static int read_maps(struct tl_intent *intent)
{
	intent->present = read_map(intent, TL_LOG_PRESENT);
	if (!IS_ERR(intent->present) && intent->header.has_frozen)
		intent->frozen = read_map(intent, TL_LOG_FROZEN);
	if (!IS_ERR(intent->present) && !IS_ERR(intent->frozen))
		return 0;
	if (!IS_ERR(intent->present))
		tl_map_put(intent->present);
	intent->present = NULL;
	intent->frozen = NULL;
	return 0;
}

static int read_log(struct tl_intent *intent)
{
	int error = tl_log_read_header(intent->log, &intent->header);

	if (error)
		return error;
	if (le32_to_cpu(intent->header.version) != TL_LOG_VERSION)
		return -EPROTONOSUPPORT;
	error = lay_out(intent);
	if (error)
		return error == -ENOMEM ? error : -EBADMSG;
	if (!!intent->header.has_witness != !!intent->witness)
		return -EINVAL;
	if (intent->witness)
		intent->witness->uuid = intent->log->uuid;
	intent->found = le32_to_cpu(intent->header.state);
	if (!tl_intent_can_be_believed(intent) ||
	    (intent->found != TL_LOG_OPEN && intent->found != TL_LOG_CLEAN)) {
		intent->found = 0;
		intent->found_reason = TOWLINE_REASON_LOG_FAILED;
	}
	error = read_regions(intent);
	if (!error && intent->found == TL_LOG_CLEAN)
		error = read_maps(intent);
	return error;
}

/* Each block is written, so that from now on each says whose it is. */
static int make_log(struct tl_intent *intent, struct tl_record_wish *wish, sector_t sectors,
		    u32 block_size)
{
	u64 block;
	int error;

	intent->created = true;
	uuid_gen(&intent->log->uuid);
	intent->log->trusted = true;
	if (intent->witness) {
		intent->witness->uuid = intent->log->uuid;
		intent->witness->trusted = true;
	}
	intent->header.version = cpu_to_le32(TL_LOG_VERSION);
	intent->header.block_size = cpu_to_le32(block_size);
	intent->header.region_size = cpu_to_le32(wish->region_size ?: TOWLINE_REGION_SIZE_DEFAULT);
	intent->header.sectors_logged = cpu_to_le64(sectors);
	intent->header.has_witness = cpu_to_le32(!!intent->witness);
	error = lay_out(intent) ?: tl_intent_write_header(intent, TL_LOG_INVALID);
	for (block = 0; block < intent->region_blocks && !error; block++)
		error = tl_log_write(intent->log, 1 + block, TL_LOG_REGIONS, NULL, 0, 0);
	if (!error)
		error = tl_record_write_map(intent, TL_LOG_PRESENT, NULL) ?:
			tl_record_write_map(intent, TL_LOG_FROZEN, NULL);
	intent->log->trusted = false;
	if (intent->witness)
		intent->witness->trusted = false;
	return error;
}

static int open_witness(struct tl_intent *intent, struct tl_record_wish *wish)
{
	struct tl_extents *extents = wish->witness;

	wish->witness = NULL;
	if (!extents)
		return 0;
	intent->witness = tl_log_create(extents);
	return intent->witness ? 0 : -ENOMEM;
}

/*
 * Takes over the extents, also when it fails. -EBADMSG: there is no log, or it is spoilt. Nothing
 * is written unless it is to be created.
 */
struct tl_intent *tl_record_open(struct tl_record_wish *wish, sector_t sectors, u32 block_size)
{
	struct tl_log *log = tl_log_create(wish->extents);
	struct tl_intent *intent = log ? kzalloc(sizeof(*intent), GFP_KERNEL) : NULL;
	int error;

	wish->extents = NULL;
	if (!intent) {
		tl_log_free(log);
		return ERR_PTR(-ENOMEM);
	}
	tl_intent_prepare(intent);
	intent->log = log;
	intent->no_gap = wish->no_gap;
	memcpy(intent->identity, wish->identity, sizeof(wish->identity));
	error = open_witness(intent, wish);
	if (!error)
		error = wish->create ? make_log(intent, wish, sectors, block_size) :
				       read_log(intent);
	if (error) {
		tl_intent_free(intent);
		return ERR_PTR(error);
	}
	return intent;
}
