// SPDX-License-Identifier: Apache-2.0
// Epochs in memory that the kernel would mark: here the test is the kernel.

#include <memory>

#include <gtest/gtest.h>

#include "cbt/bpf/epochs.hpp"

namespace towline {
namespace {

constexpr std::uint32_t kBlock = 64 << 10;
constexpr std::uint64_t kBlocks = 1000;

class BpfEpochsTest : public testing::Test {
  protected:
    BpfEpochsTest() {
        hooks.counts = [this]() -> Result<HookCounts> { return counts; };
        hooks.wait_for_programs = [this] { return wait(); };
        hooks.each_unfinished = [this](const auto& found) -> Status {
            for (const Extent& extent : unfinished)
                found(extent);
            return {};
        };
        hooks.settle = [this] { return settles; };
        epochs().begin(uuid, true, Trust::kExact, {});
    }

    // As another process finds them.
    BpfEpochs epochs() { return {*control, marks, geometry}; }

    // What a program does that read `active` before.
    void mark_in(std::uint32_t active, std::uint64_t block) {
        marks[active * geometry.half_words() + block / 64] |= std::uint64_t{1} << (block % 64);
    }
    void mark(std::uint64_t block) { mark_in(control->active, block); }

    ChangeSet freeze() { return epochs().freeze(hooks).value(); }
    static std::vector<std::uint64_t> blocks_of(const ChangeSet& set) {
        std::vector<std::uint64_t> blocks;
        for (std::uint64_t block = 0; block < set.changes.block_count(); ++block)
            if (set.changes.test(block)) blocks.push_back(block);
        return blocks;
    }
    using Blocks = std::vector<std::uint64_t>;

    BpfEpochs::Geometry geometry{.volume_bytes = kBlocks * kBlock - 512, .block_bytes = kBlock};
    std::unique_ptr<tl_control> control = std::make_unique<tl_control>();
    std::vector<std::uint64_t> marks = std::vector<std::uint64_t>(2 * geometry.half_words());
    Uuid uuid = Uuid::random();
    HookCounts counts;
    std::vector<Extent> unfinished;
    bool settles = true;
    std::function<Status()> wait = [] { return Status{}; };
    EpochHooks hooks;
};

TEST_F(BpfEpochsTest, MarksAreInTheEpochThatTheyWereMadeIn) {
    for (const std::uint64_t block : {0, 62, 63, 64, 127, 999})
        mark(block);
    const ChangeSet first = freeze();
    EXPECT_EQ(blocks_of(first), (Blocks{0, 62, 63, 64, 127, 999}));
    EXPECT_EQ(first.tracker, uuid);
    EXPECT_EQ(first.sequence, 1U);
    EXPECT_EQ(first.after, 0U);
    EXPECT_EQ(first.trust, Trust::kExact);
    EXPECT_TRUE(first.reasons.has(ChangeReason::kFirst));

    mark(5);
    ASSERT_TRUE(epochs().commit(1));
    const ChangeSet second = freeze();
    EXPECT_EQ(blocks_of(second), Blocks{5});
    EXPECT_EQ(second.after, 1U);
    EXPECT_TRUE(second.reasons.empty());
}

TEST_F(BpfEpochsTest, AProgramThatReadTheOldEpochIsWaitedFor) {
    wait = [this] {
        mark_in(0, 7);  // it began before the switch, and marks late
        return Status{};
    };
    EXPECT_EQ(blocks_of(freeze()), Blocks{7});
}

TEST_F(BpfEpochsTest, WhatIsInFlightAtTheSwitchIsInTheNewEpochToo) {
    mark(3);
    unfinished = {{3 * kBlock + 100, 200}, {8 * kBlock - 512, 1024}, {999 * kBlock, kBlock}};
    EXPECT_EQ(blocks_of(freeze()), Blocks{3});
    ASSERT_TRUE(epochs().commit(1));
    unfinished.clear();
    EXPECT_EQ(blocks_of(freeze()), (Blocks{3, 7, 8, 999}));
}

TEST_F(BpfEpochsTest, WhatIsGivenBackComesAgain) {
    mark(1);
    freeze();
    mark(2);
    ASSERT_TRUE(epochs().give_back(1));
    ASSERT_TRUE(epochs().give_back(1));
    EXPECT_EQ(epochs().commit(1).error().code, Code::kRefused);
    const ChangeSet set = freeze();
    EXPECT_EQ(blocks_of(set), (Blocks{1, 2}));
    EXPECT_TRUE(set.reasons.has(ChangeReason::kMerged));
    EXPECT_TRUE(set.reasons.has(ChangeReason::kFirst));
    EXPECT_EQ(set.sequence, 2U);
    EXPECT_EQ(set.after, 0U);
}

TEST_F(BpfEpochsTest, AFreezeOverAFrozenEpochHoldsBoth) {
    mark(1);
    freeze();
    mark(2);
    const ChangeSet set = freeze();
    EXPECT_EQ(blocks_of(set), (Blocks{1, 2}));
    EXPECT_TRUE(set.reasons.has(ChangeReason::kMerged));
    EXPECT_EQ(epochs().commit(1).error().code, Code::kRefused);
    EXPECT_TRUE(epochs().commit(2));
    EXPECT_TRUE(epochs().commit(2));
    EXPECT_EQ(epochs().give_back(2).error().code, Code::kRefused);
    EXPECT_EQ(epochs().commit(3).error().code, Code::kInvalid);
    EXPECT_EQ(epochs().commit(0).error().code, Code::kInvalid);
    EXPECT_TRUE(blocks_of(freeze()).empty());
}

TEST_F(BpfEpochsTest, EachKindOfGapMakesItsEpochUnknown) {
    std::uint64_t HookCounts::*const kinds[] = {&HookCounts::misses, &HookCounts::passthrough,
                                                &HookCounts::untraced, &HookCounts::beyond,
                                                &HookCounts::unseen};
    for (const auto kind : kinds) {
        ++(counts.*kind);
        EXPECT_EQ(epochs().trust(counts), Trust::kUnknown);
        const ChangeSet set = freeze();
        EXPECT_EQ(set.trust, Trust::kUnknown);
        EXPECT_TRUE(set.reasons.has(ChangeReason::kGap));
        ASSERT_TRUE(epochs().commit(set.sequence));
        const ChangeSet next = freeze();
        EXPECT_EQ(next.trust, Trust::kExact);
        ASSERT_TRUE(epochs().commit(next.sequence));
    }
}

TEST_F(BpfEpochsTest, UnknownStaysUntilItIsCommitted) {
    ++counts.misses;
    const ChangeSet set = freeze();
    ASSERT_TRUE(epochs().give_back(set.sequence));
    EXPECT_EQ(freeze().trust, Trust::kUnknown);
    EXPECT_EQ(freeze().trust, Trust::kUnknown);
    ASSERT_TRUE(epochs().commit(3));
    EXPECT_EQ(freeze().trust, Trust::kExact);
}

// A write that nobody noted may end in any later epoch, as long as there is one.
TEST_F(BpfEpochsTest, WhileUnnotedWritesMayBeInFlightNoEpochIsTrusted) {
    settles = false;
    ++counts.untraced;
    for (std::uint64_t sequence = 1; sequence <= 3; ++sequence) {
        EXPECT_EQ(freeze().trust, Trust::kUnknown);
        ASSERT_TRUE(epochs().commit(sequence));
    }
    settles = true;
    EXPECT_EQ(freeze().trust, Trust::kUnknown);  // they ended in this one
    ASSERT_TRUE(epochs().commit(4));
    EXPECT_EQ(freeze().trust, Trust::kExact);
}

TEST_F(BpfEpochsTest, AGapWhileTheEpochsSwitchLeavesTheNewOneUntrustedToo) {
    wait = [this] {
        ++counts.misses;
        return Status{};
    };
    EXPECT_EQ(freeze().trust, Trust::kUnknown);
    ASSERT_TRUE(epochs().commit(1));
    wait = [] { return Status{}; };
    EXPECT_EQ(freeze().trust, Trust::kUnknown);
    ASSERT_TRUE(epochs().commit(2));
    EXPECT_EQ(freeze().trust, Trust::kExact);
}

TEST_F(BpfEpochsTest, AttachedWhileWritesWereInFlightIsUnknown) {
    epochs().begin(uuid, false, Trust::kExact, {});
    const ChangeSet set = freeze();
    EXPECT_EQ(set.trust, Trust::kUnknown);
    EXPECT_TRUE(set.reasons.has(ChangeReason::kGap));
}

// Every state of the memory at which a process could die, as seen from a call of its: the next
// process must find all marks, in that epoch or the next.
TEST_F(BpfEpochsTest, AProcessThatDiesWhileItSwitchesLosesNothing) {
    mark(1);
    wait = [this] {
        mark_in(0, 2);
        mark_in(1, 3);
        return Status(fail(Code::kIo, "killed"));
    };
    ASSERT_FALSE(epochs().freeze(hooks));
    mark(4);
    wait = [] { return Status{}; };
    const ChangeSet set = freeze();
    EXPECT_EQ(blocks_of(set), (Blocks{1, 2, 3, 4}));
    EXPECT_EQ(set.sequence, 2U);
    ASSERT_TRUE(epochs().commit(2));
    EXPECT_TRUE(blocks_of(freeze()).empty());
}

TEST_F(BpfEpochsTest, WordsWithoutDeedsAreFinished) {
    mark(1);
    freeze();
    // Killed between the note that it is committed and the clearing.
    control->epochs.sequence_committed = 1;
    ASSERT_TRUE(epochs().recover(hooks));
    EXPECT_EQ(epochs().sequence_frozen(), 0U);
    EXPECT_TRUE(blocks_of(freeze()).empty());
    // Killed between "frozen" and the next number.
    control->epochs.sequence = 2;
    ASSERT_TRUE(epochs().recover(hooks));
    EXPECT_EQ(epochs().sequence(), 3U);
}

TEST_F(BpfEpochsTest, WritesAreCountedOverAllProcessors) {
    control->slots[0].writes = 3;
    control->slots[TL_WRITE_SLOTS - 1].writes = 4;
    EXPECT_EQ(epochs().writes_seen(), 7U);
}

}  // namespace
}  // namespace towline
