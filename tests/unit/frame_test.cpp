// SPDX-License-Identifier: Apache-2.0
// Headers and block tables are where a peer says how much memory we shall touch: every field is
// damaged once, every bound is tried on both sides.

#include "transport/frame.hpp"

#include <gtest/gtest.h>

#include "io/checksum.hpp"
#include "transport/codec.hpp"

namespace towline {
namespace {

using RawHeader = std::array<std::byte, wire::kHeaderBytes>;

FrameHeader some_header() {
    return {.type = wire::FrameType::kData,
            .flags = wire::kFlagNextFollows,
            .run = 0x1122334455667788,
            .sequence = 0x99aabbccddeeff00,
            .head_bytes = 24,
            .payload_bytes = 4096,
            .head_crc = 0xdeadbeef};
}

RawHeader encoded(const FrameHeader& header) {
    RawHeader raw{};
    header.encode(raw);
    return raw;
}

// With the header's own CRC made right again: the check behind it must hold by itself.
Result<FrameHeader> decode_sealed(RawHeader raw) {
    store_le(&raw[36], crc32c(ByteSpan(raw).first(36)));
    return FrameHeader::decode(raw);
}

Code code_of(const Result<FrameHeader>& result) {
    EXPECT_FALSE(result);
    return result ? Code::kCancelled : result.error().code;
}

TEST(FrameHeader, RoundTripsEveryFieldAtItsPlace) {
    const RawHeader raw = encoded(some_header());
    EXPECT_EQ(load_le<std::uint32_t>(&raw[0]), wire::kMagic);
    EXPECT_EQ(load_le<std::uint16_t>(&raw[4]), 8U);
    EXPECT_EQ(load_le<std::uint16_t>(&raw[6]), 1U);
    EXPECT_EQ(load_le<std::uint64_t>(&raw[8]), 0x1122334455667788U);
    EXPECT_EQ(load_le<std::uint64_t>(&raw[16]), 0x99aabbccddeeff00U);
    EXPECT_EQ(load_le<std::uint32_t>(&raw[24]), 24U);
    EXPECT_EQ(load_le<std::uint32_t>(&raw[28]), 4096U);
    EXPECT_EQ(load_le<std::uint32_t>(&raw[32]), 0xdeadbeefU);
    const auto back = FrameHeader::decode(raw);
    ASSERT_TRUE(back);
    EXPECT_EQ(encoded(*back), raw);
}

TEST(FrameHeader, NoFlippedBitPasses) {
    const RawHeader raw = encoded(some_header());
    for (std::size_t bit = 0; bit < raw.size() * 8; ++bit) {
        RawHeader damaged = raw;
        damaged[bit / 8] ^= std::byte{1} << (bit % 8);
        const Code code = code_of(FrameHeader::decode(damaged));
        EXPECT_EQ(code, bit < 32 ? Code::kProtocol : Code::kCorrupt) << "bit " << bit;
    }
}

TEST(FrameHeader, RefusesUnknownTypesAndFlags) {
    for (std::uint32_t type = 0; type <= 0xffff; ++type) {
        RawHeader raw = encoded({.type = wire::FrameType::kPing});
        store_le(&raw[4], static_cast<std::uint16_t>(type));
        EXPECT_EQ(decode_sealed(raw).has_value(), type >= 1 && type <= 22) << type;
    }
    for (std::uint32_t flags = 0; flags <= 0xffff; ++flags) {
        RawHeader raw = encoded({.type = wire::FrameType::kPing});
        store_le(&raw[6], static_cast<std::uint16_t>(flags));
        EXPECT_EQ(decode_sealed(raw).has_value(), flags <= 1) << flags;
    }
}

TEST(FrameHeader, RefusesSizesPastTheirBounds) {
    const auto accepts = [](wire::FrameType type, std::uint32_t head, std::uint32_t payload) {
        return decode_sealed(encoded({.type = type, .head_bytes = head, .payload_bytes = payload}))
            .has_value();
    };
    using enum wire::FrameType;
    EXPECT_TRUE(accepts(kData, 128 * 1024, 1024 * 1024));
    EXPECT_FALSE(accepts(kData, 128 * 1024 + 1, 0));
    EXPECT_FALSE(accepts(kData, 16, 1024 * 1024 + 1));
    EXPECT_FALSE(accepts(kData, UINT32_MAX, UINT32_MAX));
    // Data alone carries a payload.
    for (std::uint16_t type = 1; type <= wire::kFrameTypeMax; ++type) {
        const auto each = static_cast<wire::FrameType>(type);
        EXPECT_TRUE(accepts(each, 16, 0));
        EXPECT_EQ(accepts(each, 16, 1), each == kData);
    }
}

// --- block tables ---------------------------------------------------------------------------

constexpr std::uint8_t kRaw = 0;
constexpr std::uint8_t kZstd = 2;
constexpr std::uint32_t kBlockBytes = 4096;

constexpr std::size_t kEntriesAt = DataHead::kFixedBytes + 2 * DataHead::kExtentBytes;

DataHead some_table() {
    DataHead head;
    head.block_bytes = kBlockBytes;
    head.add_extent(7 * std::uint64_t{kBlockBytes}, 2);
    head.add_extent(12 * std::uint64_t{kBlockBytes}, 1);
    head.blocks[0] = {.kind = kRaw, .stored_bytes = kBlockBytes, .crc = 1};
    head.blocks[1] = {.kind = wire::kStoredZero, .stored_bytes = 0, .crc = 0};
    head.blocks[2] = {.kind = kZstd, .stored_bytes = 100, .crc = 3};
    return head;
}

// Of blocks that came to nothing by compression: a table is as long as it may be.
DataHead table_of(std::uint32_t block_bytes, const std::vector<DataExtent>& extents) {
    DataHead head;
    head.block_bytes = block_bytes;
    for (const DataExtent& extent : extents)
        head.add_extent(extent.offset_bytes, extent.count);
    head.blocks.fill({.kind = kZstd, .stored_bytes = 1, .crc = 0});
    return head;
}

std::vector<std::byte> encoded(const DataHead& head) {
    std::vector<std::byte> raw(head.encoded_bytes());
    head.encode(raw);
    return raw;
}

bool accepts(const std::vector<std::byte>& raw, std::size_t payload_bytes) {
    DataHead into;
    const Status status = DataHead::decode(raw, static_cast<std::uint32_t>(payload_bytes), into);
    EXPECT_TRUE(status || status.error().code == Code::kProtocol);
    return status.has_value();
}

bool accepts(const DataHead& head) {
    return accepts(encoded(head), head.payload_bytes());
}

TEST(DataHead, RoundTrips) {
    const DataHead head = some_table();
    DataHead back;
    ASSERT_TRUE(DataHead::decode(encoded(head), kBlockBytes + 100, back));
    EXPECT_EQ(back.block_bytes, head.block_bytes);
    ASSERT_EQ(back.extent_count, 2);
    EXPECT_EQ(back.extents[0], head.extents[0]);
    EXPECT_EQ(back.extents[1], head.extents[1]);
    ASSERT_EQ(back.block_count, 3);
    for (std::size_t i = 0; i < 3; ++i)
        EXPECT_EQ(back.blocks[i], head.blocks[i]) << i;
}

TEST(DataHead, RefusesAnyOtherLength) {
    const DataHead head = some_table();
    std::vector<std::byte> raw = encoded(head);
    for (std::size_t length = 0; length < raw.size(); ++length) {
        EXPECT_FALSE(accepts({raw.begin(), raw.begin() + static_cast<std::ptrdiff_t>(length)},
                             head.payload_bytes()))
            << length;
    }
    raw.push_back({});
    EXPECT_FALSE(accepts(raw, head.payload_bytes()));
}

TEST(DataHead, RefusesLengthsThatDoNotAddUp) {
    const DataHead head = some_table();
    for (const int by : {-1, 1, 100, -static_cast<int>(kBlockBytes)}) {
        EXPECT_FALSE(accepts(encoded(head), head.payload_bytes() + static_cast<std::size_t>(by)));
    }
}

TEST(DataHead, RefusesBlockSizesThatCannotBe) {
    for (const std::uint32_t size :
         {0U, 1U, 512U, 2048U, 4095U, 4097U, 12288U, 2U << 20, UINT32_MAX}) {
        EXPECT_FALSE(accepts(table_of(size, {{0, 1}}))) << size;
    }
}

TEST(DataHead, RefusesOffsetsBetweenBlocks) {
    for (const std::uint64_t offset : {std::uint64_t{1}, std::uint64_t{2048}, UINT64_MAX}) {
        EXPECT_FALSE(accepts(table_of(kBlockBytes, {{offset, 1}}))) << offset;
        EXPECT_FALSE(accepts(table_of(kBlockBytes, {{0, 1}, {kBlockBytes + offset, 1}}))) << offset;
    }
}

TEST(DataHead, RefusesExtentsOutOfOrder) {
    constexpr std::uint64_t kBytes = kBlockBytes;
    EXPECT_TRUE(accepts(table_of(kBlockBytes, {{0, 2}, {2 * kBytes, 1}, {9 * kBytes, 1}})));
    EXPECT_FALSE(accepts(table_of(kBlockBytes, {{0, 2}, {kBytes, 1}})));  // overlap
    EXPECT_FALSE(accepts(table_of(kBlockBytes, {{kBytes, 1}, {kBytes, 1}})));
    EXPECT_FALSE(accepts(table_of(kBlockBytes, {{2 * kBytes, 1}, {0, 1}})));
    EXPECT_FALSE(accepts(table_of(kBlockBytes, {{0, 1}, {4 * kBytes, 0}})));
}

TEST(DataHead, RefusesExtentsThatWrap) {
    const std::uint64_t last = UINT64_MAX - kBlockBytes + 1;
    EXPECT_TRUE(accepts(table_of(kBlockBytes, {{last - kBlockBytes, 1}})));
    EXPECT_FALSE(accepts(table_of(kBlockBytes, {{last, 1}})));
    EXPECT_FALSE(accepts(table_of(kBlockBytes, {{last, 1}, {0, 1}})));
    EXPECT_FALSE(accepts(table_of(kBlockBytes, {{last - kBlockBytes, 2}})));
}

TEST(DataHead, HoldsCountsToAFrameOfPlainBlocks) {
    DataHead head = table_of(kBlockBytes, {{0, wire::kBlocksPerFrameMax - 1}, {1 << 30, 1}});
    EXPECT_TRUE(accepts(head));
    std::vector<std::byte> raw = encoded(head);
    raw.resize(raw.size() + DataHead::kEntryBytes, raw[kEntriesAt]);
    constexpr std::size_t kSecondCountAt = DataHead::kFixedBytes + DataHead::kExtentBytes + 8;
    for (const std::uint32_t count : {2U, 0U, 0x8000'0000U, UINT32_MAX}) {
        store_le(&raw[kSecondCountAt], count);
        EXPECT_FALSE(accepts(raw, head.payload_bytes() + 1)) << count;
    }
    EXPECT_TRUE(accepts(table_of(65536, {{0, 16}})));
    EXPECT_FALSE(accepts(table_of(65536, {{0, 17}})));
    EXPECT_FALSE(accepts(table_of(kBlockBytes, {})));
}

TEST(DataHead, HoldsExtentsToTheirBound) {
    DataHead head = table_of(kBlockBytes, {});
    for (std::uint64_t i = 0; i < wire::kExtentsPerFrameMax; ++i)
        head.add_extent(2 * i * kBlockBytes, 1);
    EXPECT_TRUE(accepts(head));
    std::vector<std::byte> raw(DataHead::kFixedBytes);
    store_le(&raw[0], kBlockBytes);
    store_le(&raw[4], static_cast<std::uint16_t>(wire::kExtentsPerFrameMax + 1));
    for (std::uint64_t i = 0; i <= wire::kExtentsPerFrameMax; ++i) {
        std::array<std::byte, DataHead::kExtentBytes> extent{};
        store_le(&extent[0], 2 * i * kBlockBytes);
        store_le(&extent[8], 1U);
        raw.insert(raw.end(), extent.begin(), extent.end());
    }
    for (std::uint64_t i = 0; i <= wire::kExtentsPerFrameMax; ++i) {
        std::array<std::byte, DataHead::kEntryBytes> entry{};
        store_le(&entry[0], std::uint32_t{kZstd} << 24 | 1U);
        raw.insert(raw.end(), entry.begin(), entry.end());
    }
    EXPECT_FALSE(accepts(raw, wire::kExtentsPerFrameMax + 1));
    store_le(&raw[4], std::uint16_t{UINT16_MAX});
    EXPECT_FALSE(accepts(raw, wire::kExtentsPerFrameMax + 1));
}

TEST(DataHead, RefusesUnknownKindsAndReservedBits) {
    for (int kind = 0; kind < 256; ++kind) {
        DataHead head = some_table();
        head.blocks[0].kind = static_cast<std::uint8_t>(kind);
        EXPECT_EQ(accepts(head), kind <= 2) << kind;  // 255 too: a zero block with contents
    }
    std::vector<std::byte> raw = encoded(some_table());
    for (std::size_t at = 6; at < 8; ++at) {
        raw[at] = std::byte{1};
        EXPECT_FALSE(accepts(raw, some_table().payload_bytes()));
        raw[at] = {};
    }
}

TEST(DataHead, RefusesStoredLengthsOutOfBounds) {
    for (const std::uint32_t stored : {0U, kBlockBytes + 1, 0xffffffU}) {
        DataHead head = some_table();
        head.blocks[2].stored_bytes = stored;
        EXPECT_FALSE(accepts(head)) << stored;
    }
    DataHead head = some_table();
    head.blocks[1].crc = 1;
    EXPECT_FALSE(accepts(head));
    head.blocks[1] = {.kind = wire::kStoredZero, .stored_bytes = 1, .crc = 0};
    EXPECT_FALSE(accepts(head));
}

// Nothing but zeros goes as a Zero message. As blocks it would take none of the buffers that bound
// what is under way, while each of its frames costs us memory.
TEST(DataHead, RefusesFramesWithoutContents) {
    DataHead head = some_table();
    head.blocks.fill({.kind = wire::kStoredZero, .stored_bytes = 0, .crc = 0});
    EXPECT_FALSE(accepts(head));
}

}  // namespace
}  // namespace towline
