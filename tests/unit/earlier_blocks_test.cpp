// SPDX-License-Identifier: Apache-2.0
// Of two readings of the same blocks the second is held against the first: a block that became
// another, one that became zeros or ceased to be, and one that cannot be read are found, and the
// first of them is named; what came again is not looked at.

#include "userspace/engine/earlier_blocks.hpp"

#include <gtest/gtest.h>

namespace towline {
namespace {

constexpr std::uint32_t kBlock = 4096;
using Hashes = std::vector<Hash128>;

Hash128 hash(std::uint64_t salt) {
    return {.low = salt * 0x9e3779b97f4a7c15, .high = salt};
}

ChangeMap map_of(std::initializer_list<BlockRun> runs) {
    ChangeMap map(1000 * kBlock, kBlock);
    for (const BlockRun& run : runs)
        map.mark_blocks(run);
    return map;
}

HashPass::Piece piece(std::uint64_t first, const Hashes& hashes) {
    return {.run = {.first = first, .count = hashes.size()}, .hashes = hashes};
}

HashPass::Piece zeros(std::uint64_t first, std::uint64_t count) {
    return {.run = {.first = first, .count = count}, .hashes = {}};
}

// Blocks 10 to 13 (data, zeros, data, data), a hole of 8, and 40 of data; among others.
EarlierBlocks noted(std::size_t kept_max = 100) {
    EarlierBlocks blocks(map_of({{10, 4}, {20, 8}, {40, 1}}), kept_max);
    blocks.note(piece(8, {hash(8), hash(9), hash(10), Hash128{}, hash(12), hash(13), hash(14)}));
    blocks.note(zeros(16, 16));
    blocks.note(piece(39, {hash(39), hash(40)}));
    return blocks;
}

std::optional<std::uint64_t> second(EarlierBlocks blocks, const Hashes& first, Hash128 last,
                                    bool hole_is_read = false) {
    blocks.check(piece(10, first));
    blocks.check(hole_is_read ? piece(20, Hashes(8)) : zeros(20, 8));
    blocks.check(piece(40, {last}));
    return blocks.first_wrong();
}

const Hashes kSame{hash(10), Hash128{}, hash(12), hash(13)};

TEST(EarlierBlocks, TheSameIsFoundAgain) {
    EXPECT_EQ(second(noted(), kSame, hash(40)), std::nullopt);
    EXPECT_EQ(second(noted(), kSame, hash(40), true), std::nullopt);
}

TEST(EarlierBlocks, EachBlockThatIsAnotherIsFoundAndNamed) {
    for (std::size_t at = 0; at < kSame.size(); ++at) {
        for (const Hash128 other : {hash(99), Hash128{}}) {
            Hashes first = kSame;
            if (first[at] == other) continue;
            first[at] = other;
            EXPECT_EQ(second(noted(), first, hash(40)), 10 + at);
            EXPECT_EQ(second(noted(), first, hash(41)), 10 + at) << "the first of two";
        }
    }
    EXPECT_EQ(second(noted(), kSame, hash(41)), 40U);
}

TEST(EarlierBlocks, DataThatReadsAsAHoleIsFound) {
    EarlierBlocks blocks = noted();
    blocks.check(zeros(10, 4));
    blocks.check(zeros(20, 8));
    EXPECT_EQ(blocks.first_wrong(), 10U);
}

TEST(EarlierBlocks, WhatIsLeftOutOfTheSecondReadingIsFound) {
    EarlierBlocks in_the_middle = noted();
    in_the_middle.check(piece(10, {hash(10)}));
    in_the_middle.check(piece(12, {hash(12), hash(13)}));
    EXPECT_EQ(in_the_middle.first_wrong(), 11U);
    EarlierBlocks at_the_end = noted();
    at_the_end.check(piece(10, kSame));
    at_the_end.check(zeros(20, 8));
    EXPECT_EQ(at_the_end.first_wrong(), 40U);
}

TEST(EarlierBlocks, WhatCameAgainIsNotLookedAt) {
    EarlierBlocks blocks = noted();
    blocks.leave_out(map_of({{10, 1}, {12, 1}, {20, 8}}));
    EXPECT_EQ(blocks.blocks(), map_of({{11, 1}, {13, 1}, {40, 1}}));
    blocks.check(piece(11, {Hash128{}}));
    blocks.check(piece(13, {hash(13)}));
    blocks.check(piece(40, {hash(40)}));
    EXPECT_EQ(blocks.first_wrong(), std::nullopt);
}

// Behind what there is room for a block only has to be there.
TEST(EarlierBlocks, NoMoreIsKeptThanThereIsRoomFor) {
    Hashes first = kSame;
    first[2] = hash(99);
    EXPECT_EQ(second(noted(2), first, hash(40)), 12U);
    first = kSame;
    first[3] = hash(99);
    EXPECT_EQ(second(noted(2), first, Hash128{}), std::nullopt);
    EarlierBlocks blocks = noted(2);
    blocks.check(piece(10, kSame));
    blocks.check(zeros(20, 8));
    EXPECT_EQ(blocks.first_wrong(), 40U);
}

TEST(EarlierBlocks, TheFrontIsTakenInParts) {
    ChangeMap map = map_of({{3, 5}, {100, 3}});
    EXPECT_EQ(take_front(map, 4), map_of({{3, 4}}));
    EXPECT_EQ(take_front(map, 2), map_of({{7, 1}, {100, 1}}));
    EXPECT_EQ(take_front(map, 10), map_of({{101, 2}}));
    EXPECT_TRUE(map.empty() && take_front(map, 10).empty());
}

}  // namespace
}  // namespace towline
