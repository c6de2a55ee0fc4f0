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
        EXPECT_EQ(decode_sealed(raw).has_value(), type >= 1 && type <= 15) << type;
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

DataHead some_table() {
    DataHead head;
    head.offset_bytes = 7 * std::uint64_t{kBlockBytes};
    head.block_bytes = kBlockBytes;
    head.count = 3;
    head.blocks[0] = {.kind = kRaw, .stored_bytes = kBlockBytes, .crc = 1};
    head.blocks[1] = {.kind = wire::kStoredZero, .stored_bytes = 0, .crc = 0};
    head.blocks[2] = {.kind = kZstd, .stored_bytes = 100, .crc = 3};
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
    EXPECT_EQ(back.offset_bytes, head.offset_bytes);
    EXPECT_EQ(back.block_bytes, head.block_bytes);
    ASSERT_EQ(back.count, 3);
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
        DataHead head = some_table();
        head.offset_bytes = 0;
        head.block_bytes = size;
        EXPECT_FALSE(accepts(head)) << size;
    }
}

TEST(DataHead, RefusesOffsetsBetweenBlocks) {
    for (const std::uint64_t offset : {std::uint64_t{1}, std::uint64_t{2048}, UINT64_MAX}) {
        DataHead head = some_table();
        head.offset_bytes = offset;
        EXPECT_FALSE(accepts(head)) << offset;
    }
}

TEST(DataHead, HoldsCountsToAFrameOfPlainBlocks) {
    DataHead head = some_table();
    head.count = wire::kBlocksPerFrameMax;
    head.blocks.fill({.kind = kZstd, .stored_bytes = 1, .crc = 0});
    EXPECT_TRUE(accepts(head));
    std::vector<std::byte> raw = encoded(head);
    raw.resize(raw.size() + DataHead::kEntryBytes, raw[16]);
    store_le(&raw[12], static_cast<std::uint16_t>(head.count + 1));
    EXPECT_FALSE(accepts(raw, head.payload_bytes() + 1));
    head.block_bytes = 65536;
    head.offset_bytes = 0;
    EXPECT_FALSE(accepts(head));  // 256 blocks of 64 KiB are 16 MiB
    head.count = 0;
    EXPECT_FALSE(accepts(head));
}

TEST(DataHead, RefusesUnknownKindsAndReservedBits) {
    for (int kind = 0; kind < 256; ++kind) {
        DataHead head = some_table();
        head.blocks[0].kind = static_cast<std::uint8_t>(kind);
        EXPECT_EQ(accepts(head), kind <= 2) << kind;  // 255 too: a zero block with contents
    }
    std::vector<std::byte> raw = encoded(some_table());
    for (std::size_t at = 14; at < 16; ++at) {
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
