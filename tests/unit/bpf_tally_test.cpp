// SPDX-License-Identifier: Apache-2.0
// What the disk counts against what the programs saw.

#include <gtest/gtest.h>

#include "cbt/bpf/tally.hpp"

namespace towline {
namespace {

class BpfTallyTest : public testing::Test {
  protected:
    BpfTallyTest() { begin_tally(tally, reading()); }

    TallyReading reading() const {
        return {.disk_before = disk,
                .programs = programs,
                .seen = seen,
                .misses = misses,
                .disk_after = disk};
    }
    // A change of that many sectors; which programs saw it.
    void change(std::uint64_t sectors, std::initializer_list<std::size_t> seers) {
        disk += sectors;
        for (const std::size_t program : seers)
            seen[program] += sectors;
    }
    std::uint64_t unseen() {
        reckon(tally, reading());
        return tally.unseen;
    }

    std::uint64_t disk = 5000;  // it counted before the programs were there
    std::size_t programs = 3;
    std::array<std::uint64_t, TL_COMPLETIONS> seen{};
    std::array<std::uint64_t, TL_COMPLETIONS> misses{};
    tl_tally tally{};
};

TEST_F(BpfTallyTest, WhatAllSawIsSeen) {
    change(8, {0, 1, 2});
    EXPECT_EQ(unseen(), 0u);
    change(2048, {0, 1, 2});
    EXPECT_EQ(unseen(), 0u);
}

TEST_F(BpfTallyTest, WhatNoneSawIsUnseenOnce) {
    change(8, {0, 1, 2});
    change(16, {});
    EXPECT_EQ(unseen(), 16u);
    EXPECT_EQ(unseen(), 16u);
    change(8, {0, 1, 2});
    EXPECT_EQ(unseen(), 16u);
    change(8, {});
    EXPECT_EQ(unseen(), 24u);
}

TEST_F(BpfTallyTest, OneThatSawAllIsEnough) {
    change(8, {1, 2});
    ++misses[0];
    change(8, {0, 2});
    ++misses[1];
    EXPECT_EQ(unseen(), 0u);
    // From there on the others are held to it again.
    change(8, {});
    EXPECT_EQ(unseen(), 8u);
}

TEST_F(BpfTallyTest, RecursionInEachOfThemExplainsThatEachIsBehind) {
    for (const std::size_t one : {0, 1, 2}) {
        ++misses[one];
        change(8, {(one + 1) % 3, (one + 2) % 3});
    }
    EXPECT_EQ(unseen(), 0u);
    // A miss on another disk explains nothing where one had none.
    ++misses[0];
    change(8, {});
    EXPECT_EQ(unseen(), 8u);
}

TEST_F(BpfTallyTest, ACountThatIsNotYetDoneIsNoGap) {
    // The programs see a change before the disk counts it.
    for (auto& sectors : seen)
        sectors += 8;
    EXPECT_EQ(unseen(), 0u);
    disk += 8;
    EXPECT_EQ(unseen(), 0u);
}

TEST_F(BpfTallyTest, StatisticsThatAreOffTellNothing) {
    for (auto& sectors : seen)
        sectors += 800;
    EXPECT_EQ(unseen(), 0u);
}

TEST_F(BpfTallyTest, WithoutProgramsThereIsNothingToCompare) {
    programs = 0;
    change(8, {});
    EXPECT_EQ(unseen(), 0u);
}

TEST_F(BpfTallyTest, ABioBasedDeviceHasOneProgram) {
    programs = 1;
    change(8, {0});
    EXPECT_EQ(unseen(), 0u);
    change(8, {});
    EXPECT_EQ(unseen(), 8u);
}

}  // namespace
}  // namespace towline
