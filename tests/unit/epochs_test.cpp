// SPDX-License-Identifier: Apache-2.0
// Epochs, regions and chunks as bookkeeping: no mark is dropped but by commit.

#include "cbt/epochs.hpp"

#include <gtest/gtest.h>

#include "cbt/chunk_states.hpp"
#include "cbt/hot_regions.hpp"

namespace towline {
namespace {

constexpr std::uint64_t kBytes = 1 << 20;
constexpr std::uint32_t kBlock = 4096;

Epochs made() {
    return Epochs(Epoch{.marks = ChangeMap(kBytes, kBlock)});
}

TEST(Epochs, CommitDropsAndCanBeRepeated) {
    Epochs epochs = made();
    epochs.mark({0, 1});
    EXPECT_EQ(epochs.freeze().sequence, 1);
    EXPECT_EQ(epochs.commit(1), Settled::kDone);
    EXPECT_EQ(epochs.commit(1), Settled::kRepeated);
    EXPECT_EQ(epochs.give_back(1), Settled::kOpposite);
    EXPECT_EQ(epochs.commit(2), Settled::kNever);
    EXPECT_EQ(epochs.commit(0), Settled::kNever);
    EXPECT_TRUE(epochs.uncommitted().empty());
    EXPECT_EQ(epochs.committed(), 1);
}

TEST(Epochs, GiveBackKeepsEverything) {
    Epochs epochs = made();
    epochs.mark({0, 1});
    epochs.freeze();
    epochs.mark({kBlock * 7, 1});
    EXPECT_EQ(epochs.give_back(1), Settled::kDone);
    EXPECT_EQ(epochs.give_back(1), Settled::kRepeated);
    EXPECT_EQ(epochs.commit(1), Settled::kOpposite);
    EXPECT_EQ(epochs.present().marks.marked_blocks(), 2);
    EXPECT_TRUE(epochs.present().reasons.has(ChangeReason::kMerged));
}

TEST(Epochs, AFreezeOverAFrozenEpochHoldsBoth) {
    Epochs epochs = made();
    epochs.mark({0, 1});
    epochs.freeze();
    epochs.mark({kBlock, 1});
    const Epoch& both = epochs.freeze();
    EXPECT_EQ(both.sequence, 2);
    EXPECT_EQ(both.marks.marked_blocks(), 2);
    EXPECT_TRUE(both.reasons.has(ChangeReason::kMerged));
    EXPECT_EQ(epochs.commit(1), Settled::kOpposite) << "it is a part of the second";
}

TEST(Epochs, TheLesserTrustWins) {
    Epochs epochs(Epoch{.trust = Trust::kSuperset, .marks = ChangeMap(kBytes, kBlock)});
    epochs.freeze();
    EXPECT_EQ(epochs.present().trust, Trust::kExact);
    EXPECT_EQ(epochs.give_back(1), Settled::kDone);
    EXPECT_EQ(epochs.present().trust, Trust::kSuperset);
}

TEST(Epochs, MarksOfAFrozenEpochSurviveAResize) {
    Epochs epochs = made();
    epochs.mark({0, 1});
    epochs.freeze();
    epochs.resize(kBytes * 2);
    EXPECT_EQ(epochs.give_back(1), Settled::kDone);
    EXPECT_TRUE(epochs.present().marks.test(0));
    EXPECT_TRUE(epochs.present().marks.all_set({kBytes / kBlock, kBytes / kBlock}));
}

TEST(HotRegions, WhatIsDurableIsNeverMoreThanWhatWasWritten) {
    HotRegions regions(kBytes, 64 << 10);
    EXPECT_FALSE(regions.durable({0, 1}));
    regions.want({0, (64 << 10) + 1});
    EXPECT_FALSE(regions.durable({0, 1})) << "wanted is not written";
    regions.written(regions.wanted());
    EXPECT_TRUE(regions.durable({0, (64 << 10) + 1}));
    EXPECT_FALSE(regions.durable({0, (128 << 10) + 1}));
    ChangeMap keep(kBytes, 64 << 10);
    keep.mark_blocks({1, 1});
    regions.cool(keep);
    EXPECT_FALSE(regions.durable({0, 1})) << "before the log is written without it";
    EXPECT_TRUE(regions.durable({64 << 10, 1}));
}

TEST(ChunkStates, AChunkIsCopiedOnceAndThenDone) {
    ChunkStates chunks(kBytes + 1, 64 << 10, 1);
    EXPECT_EQ(chunks.chunks_of({kBytes, 100}), (BlockRun{16, 1}));
    EXPECT_EQ(chunks.chunks_of({kBytes + 1, 100}).count, 0) << "behind the snapshot's end";
    EXPECT_EQ(chunks.state(3), ChunkState::kNew);
    chunks.claim(3);
    EXPECT_EQ(chunks.state(3), ChunkState::kCopying);
    chunks.abandon(3);
    EXPECT_EQ(chunks.state(3), ChunkState::kNew);
    chunks.claim(3);
    const auto slot = chunks.take_slot();
    ASSERT_TRUE(slot);
    chunks.finish(3, slot);
    EXPECT_EQ(chunks.state(3), ChunkState::kDone);
    EXPECT_EQ(chunks.slot_of(3), slot);
    EXPECT_FALSE(chunks.take_slot()) << "full";
    chunks.claim(4);
    chunks.finish(4, std::nullopt);
    EXPECT_EQ(chunks.slot_of(4), std::nullopt);
}

}  // namespace
}  // namespace towline
