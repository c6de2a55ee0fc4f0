// SPDX-License-Identifier: Apache-2.0
// All is looked at once a period, whatever the rhythm of the runs, and nothing that the tracker
// itself names as changed.

#include "userspace/engine/rolling_audit.hpp"

#include <random>
#include <set>

#include <gtest/gtest.h>

namespace towline {
namespace {

constexpr std::uint32_t kBlock = 4096;
constexpr std::int64_t kDay = 86'400'000;
constexpr Duration kPeriod = std::chrono::days(30);

ChangeMap map_of(std::uint64_t blocks) {
    return {blocks * kBlock, kBlock};
}

RollingPart due(const RollingAudit& before, std::int64_t now, const ChangeMap& map,
                std::uint64_t most = UINT64_MAX) {
    return rolling_part(before, now, kPeriod, map, most);
}

TEST(RollingAudit, BeginsToCountAtTheFirstRun) {
    const RollingPart first = due({}, 5 * kDay, map_of(300));
    EXPECT_EQ(first.block_count, 0U);
    EXPECT_EQ(first.after.covered_ms, 5 * kDay);
    const RollingPart next = due(first.after, 6 * kDay, map_of(300));
    EXPECT_EQ(next.first_block, 0U);
    EXPECT_EQ(next.block_count, 10U);
    EXPECT_EQ(due(next.after, 7 * kDay, map_of(300)).first_block, 10U);
}

// In runs of any rhythm, a minute or days apart: every block within the period.
TEST(RollingAudit, CoversEveryBlockWithinThePeriod) {
    for (const std::uint64_t blocks : {1U, 7U, 300U, 5000U}) {
        std::mt19937_64 draw(blocks);
        const ChangeMap map = map_of(blocks);
        RollingAudit audit = due({}, kDay, map).after;
        std::set<std::uint64_t> seen;
        std::int64_t now = kDay;
        while (now < 31 * kDay) {
            now = std::min(now + static_cast<std::int64_t>(draw() % (2 * kDay)), 31 * kDay);
            const RollingPart part = due(audit, now, map);
            for (std::uint64_t at = 0; at < part.block_count; ++at)
                seen.insert((part.first_block + at) % blocks);
            audit = part.after;
        }
        // The rounding of a block, at most.
        EXPECT_GE(seen.size() + 1, blocks);
        EXPECT_LE(audit.covered_ms, now);
    }
}

TEST(RollingAudit, RunsOfAMinuteLoseNoShare) {
    const ChangeMap map = map_of(100);
    RollingAudit audit = due({}, kDay, map).after;
    std::uint64_t blocks = 0;
    for (std::int64_t now = kDay; now <= 31 * kDay; now += 60'000) {
        const RollingPart part = due(audit, now, map);
        blocks += part.block_count;
        audit = part.after;
    }
    EXPECT_GE(blocks, 99U);
    EXPECT_LE(blocks, 101U);
}

TEST(RollingAudit, ALongPauseCostsOneRoundAtMost) {
    const RollingAudit before{.next_bytes = 60 * kBlock, .covered_ms = kDay};
    const RollingPart part = due(before, 1000 * kDay, map_of(100));
    EXPECT_EQ(part.block_count, 100U);
    EXPECT_EQ(part.after, (RollingAudit{.next_bytes = 60 * kBlock, .covered_ms = 1000 * kDay}));
}

TEST(RollingAudit, WhatIsMoreThanARunMayLookAtStaysDue) {
    const RollingAudit before{.next_bytes = 0, .covered_ms = kDay};
    const RollingPart part = due(before, 16 * kDay, map_of(100), 20);
    EXPECT_EQ(part.block_count, 20U);
    EXPECT_EQ(due(part.after, 16 * kDay, map_of(100)).block_count, 30U);
}

TEST(RollingAudit, AClockThatWasSetBackBeginsAnew) {
    const RollingAudit before{.next_bytes = 8 * kBlock, .covered_ms = 9 * kDay};
    const RollingPart part = due(before, 2 * kDay, map_of(100));
    EXPECT_EQ(part.block_count, 0U);
    EXPECT_EQ(part.after, (RollingAudit{.next_bytes = 8 * kBlock, .covered_ms = 2 * kDay}));
}

TEST(RollingAudit, LooksAtNothingThatIsKnownToHaveChanged) {
    ChangeMap plan = map_of(10);
    plan.mark_blocks({.first = 9, .count = 1});
    const RollingPart part{.first_block = 8, .block_count = 5};
    const ChangeMap blocks = rolling_blocks(part, plan, {{kBlock, kBlock}});
    EXPECT_EQ(blocks.marked_blocks(), 3U);
    for (const std::uint64_t block : {8U, 0U, 2U})
        EXPECT_TRUE(blocks.test(block)) << block;
    EXPECT_TRUE(rolling_blocks({}, plan, {}).empty());
}

}  // namespace
}  // namespace towline
