// SPDX-License-Identifier: Apache-2.0
// The records that a freeze of XFS leaves, as Linux 6.1 and 6.18 write them, with right checksums
// and one word that is another one. A "yes" that is wrong takes used blocks for free ones.

#include "cbt/used_blocks_xfs_log.hpp"

#include <functional>

#include <gtest/gtest.h>

#include "io/checksum.hpp"

namespace towline {
namespace {

constexpr std::size_t kSector = 512;
constexpr std::uint32_t kCycle = 7;
constexpr std::uint64_t kAt = 730;

using Bytes = std::vector<std::byte>;

template <typename T>
void put_big(Bytes& bytes, std::size_t at, T value) {
    for (std::size_t i = sizeof(T); i-- > 0; value = static_cast<T>(value >> 8))
        bytes.at(at + i) = static_cast<std::byte>(value);
}

template <typename T>
void put_little(Bytes& bytes, std::size_t at, T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i, value = static_cast<T>(value >> 8))
        bytes.at(at + i) = static_cast<std::byte>(value);
}

struct Operation {
    std::uint32_t transaction = 0x5355422D;
    std::uint8_t client = 0x69;
    std::uint8_t flags = 0;
    Bytes region;
};

Bytes transaction_header(std::uint32_t magic = 0x5452414E) {
    Bytes region(16);
    put_little<std::uint32_t>(region, 0, magic);
    return region;
}

struct Buffer {
    std::uint16_t type = 0x123C;
    std::uint16_t regions = 2;
    std::uint16_t flags = 0x9000;
    std::uint64_t sector = 0;
};

Bytes description(const Buffer& buffer) {
    Bytes region(24);
    put_little(region, 0, buffer.type);
    put_little(region, 2, buffer.regions);
    put_little(region, 4, buffer.flags);
    put_little<std::uint16_t>(region, 6, 1);
    put_little(region, 8, buffer.sector);
    return region;
}

std::vector<Operation> dummy(const Buffer& buffer = {}) {
    return {{.flags = 1, .region = {}},
            {.region = transaction_header()},
            {.region = description(buffer)},
            {.region = Bytes(384, std::byte{0x58})},
            {.flags = 2, .region = {}}};
}

struct Record {
    std::uint32_t cycle = kCycle;
    std::uint64_t sector = kAt;
    std::uint32_t version = 2;
    std::uint32_t format = 1;
    std::uint32_t more_operations = 0;
    std::uint32_t less_bytes = 0;
};

// As xlog_sync packs it: the first word of each sector is the cycle, and the checksum is over that.
Bytes record(const std::vector<Operation>& operations, const Record& how = {}) {
    Bytes body;
    for (const Operation& each : operations) {
        const std::size_t at = body.size();
        body.resize(at + 12);
        put_big(body, at, each.transaction);
        put_big(body, at + 4, static_cast<std::uint32_t>(each.region.size()));
        body.at(at + 8) = std::byte{each.client};
        body.at(at + 9) = std::byte{each.flags};
        body.insert(body.end(), each.region.begin(), each.region.end());
    }
    body.resize((body.size() + kSector - 1) / kSector * kSector);
    Bytes bytes(kSector);
    put_big<std::uint32_t>(bytes, 0, 0xFEEDBABE);
    put_big(bytes, 4, how.cycle);
    put_big(bytes, 8, how.version);
    const auto length = static_cast<std::uint32_t>(body.size()) - how.less_bytes;
    put_big(bytes, 12, length);
    put_big<std::uint64_t>(bytes, 16, std::uint64_t{how.cycle} << 32 | how.sector);
    put_big(bytes, 40, static_cast<std::uint32_t>(operations.size()) + how.more_operations);
    put_big(bytes, 300, how.format);
    put_big<std::uint32_t>(bytes, 320, 32768);
    for (std::size_t at = 0; at < body.size(); at += kSector) {
        std::copy_n(body.begin() + static_cast<std::ptrdiff_t>(at), 4,
                    bytes.begin() + static_cast<std::ptrdiff_t>(44 + at / kSector * 4));
        put_big(body, at, how.cycle);
    }
    Bytes covered(bytes.begin(), bytes.begin() + 328);
    covered.insert(covered.end(), body.begin(), body.begin() + length);
    put_little(bytes, 32, crc32c(covered));
    bytes.insert(bytes.end(), body.begin(), body.end());
    return bytes;
}

bool covered(const Bytes& bytes) {
    return xfs_log_holds_superblock_only(bytes, kCycle, kAt);
}

TEST(UsedBlocksXfsLog, WhatAFreezeLeavesIsTheSuperblockAlone) {
    Bytes two = record(dummy());
    EXPECT_TRUE(covered(two));
    const Bytes second = record(dummy(), {.sector = kAt + two.size() / kSector});
    two.insert(two.end(), second.begin(), second.end());
    EXPECT_TRUE(covered(two));
    // Of more sectors than one.
    auto long_one = dummy();
    long_one[3].region.resize(2000);
    EXPECT_TRUE(covered(record(long_one)));
}

TEST(UsedBlocksXfsLog, AnotherItemIsDoubted) {
    EXPECT_FALSE(covered(record(dummy({.sector = 1}))));  // the group's free space
    EXPECT_FALSE(covered(record(dummy({.sector = 1ULL << 40}))));
    EXPECT_FALSE(covered(record(dummy({.type = 0x123B}))));  // an inode
    EXPECT_FALSE(covered(record(dummy({.type = 0x1236}))));  // an intent to free
    EXPECT_FALSE(covered(record(dummy({.flags = 0x2}))));    // a buffer that was given up
    // Behind one that is good.
    auto more = dummy();
    more.insert(more.end() - 1, {.region = description({.sector = 8})});
    more.insert(more.end() - 1, {.region = Bytes(128)});
    EXPECT_FALSE(covered(record(more)));
}

TEST(UsedBlocksXfsLog, AnotherFormIsDoubted) {
    const auto with = [](const std::function<void(std::vector<Operation>&)>& change) {
        auto operations = dummy();
        change(operations);
        return covered(record(operations));
    };
    EXPECT_FALSE(with([](auto& each) { each.pop_back(); }));               // never ended
    EXPECT_FALSE(with([](auto& each) { each.erase(each.begin()); }));      // never begun
    EXPECT_FALSE(with([](auto& each) { each.erase(each.begin() + 1); }));  // no header
    EXPECT_FALSE(with([](auto& each) { each.erase(each.begin() + 3); }));  // a region less
    EXPECT_FALSE(with([](auto& each) { each.insert(each.begin() + 3, each[3]); }));
    EXPECT_FALSE(with([](auto& each) { each.insert(each.begin(), each[0]); }));
    EXPECT_FALSE(with([](auto& each) { each[2].transaction = 1; }));
    EXPECT_FALSE(with([](auto& each) { each[2].client = 0xAA; }));
    EXPECT_FALSE(with([](auto& each) { each[4].flags = 0x20; }));  // unmounted
    EXPECT_FALSE(with([](auto& each) { each[3].flags = 0x4; }));   // goes on elsewhere
    EXPECT_FALSE(with([](auto& each) { each[2].region.resize(12); }));
    EXPECT_FALSE(with([](auto& each) { each[1].region = transaction_header(1); }));
    EXPECT_FALSE(covered(record(dummy({.regions = 0}))));
    EXPECT_FALSE(covered(record(dummy({.regions = 1}))));
    EXPECT_FALSE(covered(record(dummy({.regions = 3}))));
}

TEST(UsedBlocksXfsLog, AnotherRecordIsDoubted) {
    EXPECT_FALSE(covered(record(dummy(), {.cycle = kCycle - 1})));
    EXPECT_FALSE(covered(record(dummy(), {.sector = kAt + 1})));
    EXPECT_FALSE(covered(record(dummy(), {.version = 1})));
    EXPECT_FALSE(covered(record(dummy(), {.format = 3})));
    EXPECT_FALSE(covered(record(dummy(), {.more_operations = 50})));
    EXPECT_FALSE(covered(record(dummy(), {.less_bytes = 400})));
    EXPECT_FALSE(covered(record(dummy(), {.less_bytes = 512})));
}

TEST(UsedBlocksXfsLog, DamageIsDoubted) {
    const Bytes good = record(dummy());
    for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
        const std::size_t at = bit / 8;
        if (at >= 328 && at < kSector) continue;  // room that nothing reads
        Bytes damaged = good;
        damaged[at] ^= std::byte{1} << bit % 8;
        ASSERT_FALSE(covered(damaged)) << bit;
    }
    for (std::size_t length = 1; length < good.size(); ++length)
        ASSERT_FALSE(
            covered(Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(length))))
            << length;
}

}  // namespace
}  // namespace towline
