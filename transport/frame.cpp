// SPDX-License-Identifier: Apache-2.0
// The outer grammar of the wire. The decoder trusts nothing: a header that passes here announces
// sizes that are within bounds and belong to a known type.

#include "transport/frame.hpp"

#include <bit>
#include <string>

#include "io/check.hpp"
#include "io/checksum.hpp"
#include "transport/codec.hpp"

namespace towline {

namespace {

constexpr std::size_t kHeaderCrcAt = wire::kHeaderBytes - 4;

bool carries_payload(wire::FrameType type) {
    return type == wire::FrameType::kData;
}

}  // namespace

void FrameHeader::encode(MutableByteSpan into) const {
    CHECK(into.size() >= wire::kHeaderBytes);
    store_le(&into[0], wire::kMagic);
    store_le(&into[4], static_cast<std::uint16_t>(type));
    store_le(&into[6], flags);
    store_le(&into[8], run);
    store_le(&into[16], sequence);
    store_le(&into[24], head_bytes);
    store_le(&into[28], payload_bytes);
    store_le(&into[32], head_crc);
    store_le(&into[kHeaderCrcAt], crc32c(into.first(kHeaderCrcAt)));
}

Result<FrameHeader> FrameHeader::decode(ByteSpan raw) {
    CHECK(raw.size() >= wire::kHeaderBytes);
    if (load_le<std::uint32_t>(&raw[0]) != wire::kMagic) {
        return fail(Code::kProtocol, "the peer does not speak Towline's protocol (wrong magic)");
    }
    if (load_le<std::uint32_t>(&raw[kHeaderCrcAt]) != crc32c(raw.first(kHeaderCrcAt))) {
        return fail(Code::kCorrupt, "a frame header arrived damaged (CRC mismatch)");
    }
    const auto type = load_le<std::uint16_t>(&raw[4]);
    FrameHeader header;
    header.flags = load_le<std::uint16_t>(&raw[6]);
    header.run = load_le<std::uint64_t>(&raw[8]);
    header.sequence = load_le<std::uint64_t>(&raw[16]);
    header.head_bytes = load_le<std::uint32_t>(&raw[24]);
    header.payload_bytes = load_le<std::uint32_t>(&raw[28]);
    header.head_crc = load_le<std::uint32_t>(&raw[32]);
    if (type == 0 || type > wire::kFrameTypeMax) {
        return fail(Code::kProtocol,
                    "the peer sent a frame of the unknown type " + std::to_string(type));
    }
    header.type = static_cast<wire::FrameType>(type);
    if ((header.flags & ~wire::kFlagsKnown) != 0) {
        return fail(Code::kProtocol, "the peer sent a frame with unknown flags");
    }
    const std::uint32_t payload_max =
        carries_payload(header.type) ? static_cast<std::uint32_t>(wire::kPayloadBytesMax) : 0;
    if (header.head_bytes > wire::kHeadBytesMax || header.payload_bytes > payload_max) {
        return fail(Code::kProtocol, "the peer announced a frame larger than the protocol allows");
    }
    return header;
}

void DataHead::add_extent(std::uint64_t offset_bytes, std::uint32_t count) {
    CHECK(extent_count < extents.size() && count <= blocks.size() - block_count);
    extents[extent_count++] = {.offset_bytes = offset_bytes, .count = count};
    block_count = static_cast<std::uint16_t>(block_count + count);
}

std::size_t DataHead::payload_bytes() const {
    std::size_t sum = 0;
    for (std::size_t i = 0; i < block_count; ++i)
        sum += blocks[i].stored_bytes;
    return sum;
}

void DataHead::encode(MutableByteSpan into) const {
    CHECK(into.size() >= encoded_bytes());
    store_le(&into[0], block_bytes);
    store_le(&into[4], extent_count);
    store_le(&into[6], std::uint16_t{0});
    std::byte* at = &into[kFixedBytes];
    for (std::size_t i = 0; i < extent_count; ++i, at += kExtentBytes) {
        store_le(at, extents[i].offset_bytes);
        store_le(at + 8, extents[i].count);
    }
    for (std::size_t i = 0; i < block_count; ++i, at += kEntryBytes) {
        store_le(at, static_cast<std::uint32_t>(blocks[i].kind) << 24 | blocks[i].stored_bytes);
        store_le(at + 4, blocks[i].crc);
    }
}

namespace {

Status bad_table(const char* what) {
    return fail(Code::kProtocol,
                std::string("the peer sent a block table that cannot be: ") + what);
}

Status check_entry(const StoredBlock& block, std::uint32_t block_bytes) {
    switch (block.kind) {
        case wire::kStoredZero:
            if (block.stored_bytes != 0 || block.crc != 0)
                return bad_table("a zero block with contents");
            return {};
        case static_cast<std::uint8_t>(BlockKind::kRaw):
        case static_cast<std::uint8_t>(BlockKind::kDeflate):
        case static_cast<std::uint8_t>(BlockKind::kZstd):
            if (block.stored_bytes == 0 || block.stored_bytes > block_bytes) {
                return bad_table("a stored length out of bounds");
            }
            return {};
        default:
            return bad_table("an unknown kind of block");
    }
}

// In the order of the volume and without overlaps, so that the volume's last block, which may be
// shorter, is the last of the frame, too: whatever lies behind it would lie unaligned in memory.
Status check_extent(const DataExtent& extent, std::uint32_t block_bytes, std::uint64_t begin_bytes,
                    std::uint32_t blocks_left) {
    if (extent.count == 0 || extent.count > blocks_left) return bad_table("its count of blocks");
    if (extent.offset_bytes % block_bytes != 0) return bad_table("an offset between blocks");
    if (extent.offset_bytes < begin_bytes) return bad_table("extents out of order");
    const std::uint64_t length_bytes = std::uint64_t{extent.count} * block_bytes;
    if (extent.offset_bytes > UINT64_MAX - length_bytes) return bad_table("an extent without end");
    return {};
}

}  // namespace

Status DataHead::decode(ByteSpan head, std::uint32_t payload_bytes, DataHead& into) {
    ByteReader reader(head);
    into.block_bytes = reader.get<std::uint32_t>();
    const auto extent_count = reader.get<std::uint16_t>();
    const auto reserved = reader.get<std::uint16_t>();
    into.extent_count = into.block_count = 0;
    if (reader.bad() || reserved != 0) return bad_table("its fixed part");
    if (!std::has_single_bit(into.block_bytes) || into.block_bytes < wire::kBlockBytesMin ||
        into.block_bytes > wire::kBlockBytesMax) {
        return bad_table("its block size");
    }
    if (extent_count == 0 || extent_count > wire::kExtentsPerFrameMax) {
        return bad_table("its count of extents");
    }
    const auto blocks_max = static_cast<std::uint32_t>(wire::kPayloadBytesMax / into.block_bytes);
    std::uint64_t begin_bytes = 0;
    for (std::size_t i = 0; i < extent_count; ++i) {
        const DataExtent extent{.offset_bytes = reader.get<std::uint64_t>(),
                                .count = reader.get<std::uint32_t>()};
        if (reader.bad()) return bad_table("its length");
        TRY_STATUS(
            check_extent(extent, into.block_bytes, begin_bytes, blocks_max - into.block_count));
        into.add_extent(extent.offset_bytes, extent.count);
        begin_bytes = extent.offset_bytes + std::uint64_t{extent.count} * into.block_bytes;
    }
    for (std::size_t i = 0; i < into.block_count; ++i) {
        const auto packed = reader.get<std::uint32_t>();
        into.blocks[i] = {.kind = static_cast<std::uint8_t>(packed >> 24),
                          .stored_bytes = packed & 0xffffff,
                          .crc = reader.get<std::uint32_t>()};
        TRY_STATUS(check_entry(into.blocks[i], into.block_bytes));
    }
    if (!reader.finished()) return bad_table("its length");
    if (into.payload_bytes() != payload_bytes) return bad_table("lengths that do not add up");
    // The buffer of its payload is what bounds a frame's stay with us; zeros go as Zero messages.
    if (payload_bytes == 0) return bad_table("no block with contents");
    return {};
}

}  // namespace towline
