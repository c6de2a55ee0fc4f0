// SPDX-License-Identifier: Apache-2.0
// What a tracker saw for one target: marks and doubts are added, and in doubt it vouches for less.

#include "userspace/engine/harvest.hpp"

#include <gtest/gtest.h>

#include "tests/unit/memory_stores.hpp"
#include "userspace/engine/audit_sample.hpp"
#include "userspace/engine/run_preparation.hpp"

namespace towline {
namespace {

using testing::MemorySourceStore;
using testing::uuid_of;

constexpr std::uint32_t kBlock = 4096;

ChangeSet set_of(std::uint64_t sequence, std::uint64_t after, std::uint64_t block) {
    ChangeSet set{.tracker = uuid_of(1), .sequence = sequence, .after = after};
    set.trust = Trust::kExact;
    set.changes = ChangeMap(64 * kBlock, kBlock);
    set.changes.mark_blocks({.first = block, .count = 1});
    return set;
}

Harvest harvest_at(std::uint64_t sequence) {
    return {.target = uuid_of(7), .tracker = uuid_of(1), .sequence = sequence};
}

TEST(Harvest, EpochsAddUp) {
    Harvest harvest = harvest_at(3);
    absorb(harvest, set_of(4, 3, 10));
    absorb(harvest, set_of(5, 4, 20));
    EXPECT_TRUE(harvest.changes.test(10) && harvest.changes.test(20));
    EXPECT_EQ(harvest.sequence, 5U);
    EXPECT_EQ(harvest.trust, Trust::kExact);
}

TEST(Harvest, WhatSomebodyElseTookIsAHole) {
    Harvest harvest = harvest_at(3);
    absorb(harvest, set_of(6, 5, 10));
    EXPECT_EQ(harvest.trust, Trust::kUnknown);
    EXPECT_EQ(harvest.doubt, Harvest::Doubt::kHole);
    absorb(harvest, set_of(7, 6, 11));
    EXPECT_EQ(harvest.trust, Trust::kUnknown);
}

TEST(Harvest, AnotherTrackingAddsNothing) {
    Harvest harvest = harvest_at(3);
    ChangeSet set = set_of(1, 0, 10);
    set.tracker = uuid_of(2);
    absorb(harvest, set);
    EXPECT_EQ(harvest, harvest_at(3));
}

TEST(Harvest, AVolumeThatGrewKeepsItsMarks) {
    Harvest harvest = harvest_at(3);
    absorb(harvest, set_of(4, 3, 63));
    ChangeSet grown = set_of(5, 4, 0);
    grown.changes = ChangeMap(128 * kBlock, kBlock);
    absorb(harvest, grown);
    EXPECT_EQ(harvest.changes.block_count(), 128U);
    EXPECT_TRUE(harvest.changes.test(63));
}

TEST(Harvest, ItIsKeptWholeOrNotAtAll) {
    Harvest harvest = harvest_at(3);
    absorb(harvest, set_of(6, 5, 10));
    harvest.reasons.add(ChangeReason::kCrash);
    const auto saved = harvest.save();
    EXPECT_EQ(Harvest::load(saved).value(), harvest);
    for (std::size_t length = 0; length < saved.size(); ++length)
        EXPECT_FALSE(Harvest::load(ByteSpan(saved).first(length)));
}

// A target that is new to a tracking must not be taken for one that got all of it: its base may be
// of an earlier time at which the same tracker served it.
TEST(Harvest, ANewTargetVouchesForNothing) {
    MemorySourceStore store;
    store.kept[uuid_of(8)] = harvest_at(3);
    store.kept[uuid_of(8)].target = uuid_of(8);
    ASSERT_TRUE(note_epoch(set_of(4, 3, 10), uuid_of(7), store));
    EXPECT_EQ(store.kept[uuid_of(7)].trust, Trust::kUnknown);
    EXPECT_EQ(store.kept[uuid_of(7)].doubt, Harvest::Doubt::kFresh);
    EXPECT_TRUE(store.kept[uuid_of(8)].changes.test(10));
    EXPECT_EQ(store.kept[uuid_of(8)].trust, Trust::kExact);
}

TEST(AuditSample, IsDrawnFromWhatIsHeldToBeUnchanged) {
    ChangeMap plan(64 * kBlock, kBlock);
    plan.mark_blocks({.first = 0, .count = 30});
    std::uint64_t next = 0;
    const auto draw = [&next] { return next += 7; };
    const ChangeMap sample = audit_sample(plan, {{60 * kBlock, 4 * kBlock}}, 8, draw);
    EXPECT_EQ(sample.marked_blocks(), 8U);
    EXPECT_TRUE(common(sample, plan).empty());
    EXPECT_FALSE(sample.any_set({.first = 60, .count = 4}));
    EXPECT_EQ(audit_sample(plan, {}, 256, draw).marked_blocks(), 34U);
    plan.mark_all();
    EXPECT_TRUE(audit_sample(plan, {}, 8, draw).empty());
}

}  // namespace
}  // namespace towline
