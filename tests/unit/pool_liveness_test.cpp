// SPDX-License-Identifier: Apache-2.0
// What is of use where names share segments: all of it, in bounded memory.

#include "userspace/vault/pool_liveness.hpp"

#include <algorithm>
#include <filesystem>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "userspace/vault/segment_pins.hpp"
#include "vault_fixture.hpp"

namespace towline::testing {
namespace {

struct Shown {
    SegmentKey segment;
    LiveBlock block;
};

// Places of blocks: some blocks are shown a hundred times.
std::vector<Shown> shown_places(std::size_t segments, std::size_t blocks) {
    std::mt19937_64 random(5);
    std::vector<Shown> places;
    const Uuid writer = Uuid::random();
    for (std::size_t serial = 0; serial < segments; ++serial)
        for (std::size_t i = 0; i < blocks; ++i)
            for (std::size_t times = i % 50 == 0 ? 100 : 1; times > 0; --times)
                places.push_back({{writer, serial},
                                  {.origin = static_cast<std::uint32_t>(i * 7), .block = times}});
    std::ranges::shuffle(places, random);
    return places;
}

}  // namespace

TEST(PoolLiveness, PassesShowTogetherWhatOneWould) {
    const auto places = shown_places(600, 100);
    std::map<SegmentKey, std::set<std::uint32_t>> expected;
    for (const Shown& each : places)
        expected[each.segment].insert(each.block.origin);
    constexpr std::size_t kRoom = 9000;
    std::map<SegmentKey, std::set<std::uint32_t>> found;
    std::size_t passes = 0;
    for (std::size_t shard = 0; shard < SegmentPins::kShards; ++passes) {
        PoolLiveness live(shard, kRoom);
        for (const Shown& each : places)
            live.add(each.segment, each.block);
        live.settle();
        EXPECT_LE(live.peak_blocks(), kRoom);
        ASSERT_GT(live.end(), shard);
        shard = live.end();
        for (const auto& [segment, blocks] : live.take()) {
            EXPECT_TRUE(live.covers(segment));
            EXPECT_TRUE(std::ranges::is_sorted(blocks, {}, &LiveBlock::origin));
            for (const LiveBlock& each : blocks)
                EXPECT_TRUE(found[segment].insert(each.origin).second);
        }
    }
    EXPECT_EQ(found, expected);
    // 60,000 blocks, and each pass has three quarters of the room at least.
    EXPECT_GT(passes, 6U);
    EXPECT_LT(passes, 14U);
}

TEST(PoolLiveness, WhatFitsIsLookedAtOnce) {
    const auto places = shown_places(20, 100);
    PoolLiveness live(0, 9000);
    for (const Shown& each : places)
        live.add(each.segment, each.block);
    EXPECT_EQ(live.end(), SegmentPins::kShards);
    // A block that many places show takes the room of a few.
    EXPECT_LT(live.peak_blocks(), 20U * 100 * 4);
}

// The smallest that there is to a pass.
TEST(PoolLiveness, OneShardIsHeldWhole) {
    PoolLiveness live(3, 100);
    SegmentKey key{.writer = Uuid::random(), .serial = 0};
    while (SegmentPins::shard_of(key) != 3)
        ++key.serial;
    for (std::uint32_t i = 0; i < 5000; ++i)
        live.add(key, {.origin = i});
    live.settle();
    EXPECT_EQ(live.end(), 4U);
    ASSERT_NE(live.find(key), nullptr);
    EXPECT_EQ(live.find(key)->size(), 5000U);
}

// What does not fit in memory at once is looked at in passes, and nothing is different by it.
TEST(PoolLiveness, PassesGiveBackWhatOneWould) {
    TemporaryFolder folder;
    const auto vault = new_vault(folder.path() + "/vault", with_dedup(VaultConfig{}));
    VaultModel first{vault, 40 * kBlock + 77};
    VaultModel second{vault, 40 * kBlock + 77, 2};
    second.series = "disk1";
    second.source = Uuid::parse("99999999-2222-3333-4444-555555555555").value();
    first.change_some(30);
    second.change_some(30);
    for (int i = 0; i < 6; ++i) {
        ASSERT_TRUE(first.full());
        const auto changed = first.change_some(12);
        second.take(first, changed[0], changed[1]);
        ASSERT_TRUE(i == 0 ? second.full() : second.run(RunMode::kExtents, changed));
    }
    for (const VaultModel* each : {&first, &second}) {
        const auto state = SeriesLog(vault, each->series).read();
        ASSERT_TRUE(
            Collector(vault, each->series).delete_points({state->counting[0], state->counting[3]}));
    }
    const std::string copy = folder.path() + "/copy";
    std::filesystem::copy(folder.path() + "/vault", copy, std::filesystem::copy_options::recursive);
    const auto once = Collector(vault, first.series, {.dead_share_max = 0}).collect();
    ASSERT_TRUE(once);
    const auto left = vault->store().list("segment/%pool/").value();

    const auto other = Vault::open(FolderStore::open(copy).value(), test_keys());
    ASSERT_TRUE(other) << other.error().text();
    const auto passes =
        Collector(*other, first.series, {.dead_share_max = 0, .live_blocks_max = 16}).collect();
    ASSERT_TRUE(passes) << passes.error().text();
    EXPECT_EQ((*other)->store().list("segment/%pool/").value(), left);
    EXPECT_GT(once->segments_rewritten + once->segments_removed, 2U);
    EXPECT_EQ(passes->segments_rewritten, once->segments_rewritten);
    EXPECT_EQ(passes->segments_removed, once->segments_removed);
    EXPECT_EQ(passes->bytes_before, once->bytes_before);
    EXPECT_EQ(passes->bytes_after, once->bytes_after);
    EXPECT_EQ(first.check_all(), 4U);
    first.reopen(*other);
    second.reopen(*other);
    EXPECT_EQ(first.check_all(), 4U);
    EXPECT_EQ(second.check_all(), 4U);
}

}  // namespace towline::testing
