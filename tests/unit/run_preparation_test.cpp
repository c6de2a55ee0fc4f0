// SPDX-License-Identifier: Apache-2.0
// No change is lost between the tracker and the target's seal: whatever dies at whichever write of
// the source's own notes, what the next run sends holds all that this one was to bring.

#include "userspace/engine/run_preparation.hpp"

#include <gtest/gtest.h>

#include "tests/unit/memory_stores.hpp"
#include "tests/unit/prepared_run.hpp"

namespace towline {
namespace {

using testing::MemorySourceStore;
using testing::prepare_run;
using testing::uuid_of;
using Kind = RunRequest::Kind;

class RunPreparationTest : public ::testing::Test, public testing::PreparedRunCase {
  protected:
    RunPreparationTest() {
        store.memories[kTarget] = {.target = kTarget, .base = kBase, .volume_bytes = kVolume};
    }
    Result<PreparedRun> prepare() { return prepare_run(request, store, opened); }

    MemorySourceStore store;
};

TEST_F(RunPreparationTest, ThePlanIsPendingBeforeAnythingIsSent) {
    const PreparedRun run = prepare().value();
    EXPECT_EQ(run.changed_bytes, kBlock);
    EXPECT_TRUE(run.plan.test(3) && run.plan.marked_blocks() == 1);
    EXPECT_EQ(store.maps[kTarget], run.plan);
    const TargetMemory& memory = store.memories[kTarget];
    EXPECT_EQ(memory.open_runs, std::vector{run.begin.run});
    EXPECT_EQ(memory.open_base, run.begin.next_base);
    EXPECT_EQ(memory.base, kBase);
    EXPECT_EQ(run.begin.next_base.sequence, 5U);
    EXPECT_EQ(run.begin.expected_base, kBase);
}

TEST_F(RunPreparationTest, WhatWasCutOffComesAlong) {
    const PreparedRun first = prepare().value();
    cut_off(first);
    next_changes(9);
    const PreparedRun second = prepare().value();
    EXPECT_TRUE(second.plan.test(3) && second.plan.test(9));
    EXPECT_EQ(second.changed_bytes, kBlock + 1);
    cut_off(second);
    next_changes(20);
    const PreparedRun third = prepare().value();
    EXPECT_EQ(third.plan.marked_blocks(), 3U);
    EXPECT_EQ(store.memories[kTarget].open_runs.size(), 3U);
}

TEST_F(RunPreparationTest, CommitForgetsThePending) {
    PreparedRun run = prepare().value();
    EXPECT_TRUE(commit_run(run, store));
    EXPECT_TRUE(store.maps.empty());
    EXPECT_EQ(store.memories[kTarget].base, run.begin.next_base);
    EXPECT_TRUE(store.memories[kTarget].open_runs.empty());
}

// Died between seal and commit: the target says so.
TEST_F(RunPreparationTest, ASealThatWasNotHeardOfIsCaughtUpWith) {
    const PreparedRun first = prepare().value();
    seal(first);
    next_changes(9);
    const PreparedRun second = prepare().value();
    EXPECT_FALSE(second.plan.test(3));
    EXPECT_EQ(second.decision.cause, Cause::kChangeList);
    EXPECT_EQ(second.begin.expected_base, first.begin.next_base);
    EXPECT_GT(second.begin.next_base.sequence, first.begin.next_base.sequence);
}

// The store breaks at each write of a preparation, whatever the target did since: the blocks of the
// first run are in the next plan, unless the target has them sealed.
TEST_F(RunPreparationTest, ACrashAtEachWriteOfPreparationLosesNothing) {
    const PreparedRun first = prepare().value();
    const MemorySourceStore begun = store;
    for (const bool was_sealed : {false, true}) {
        for (int writes = 0; writes <= 2; ++writes) {
            store = begun;
            was_sealed ? seal(first) : cut_off(first);
            next_changes(9);
            store.writes_left = writes;
            const bool whole = prepare().has_value();
            EXPECT_EQ(whole, writes >= (was_sealed ? 2 : 1)) << writes;
            // The changes of a run that never began are still the tracker's to give again.
            store.writes_left = INT32_MAX;
            const auto next = prepare();
            ASSERT_TRUE(next) << next.error().text();
            EXPECT_EQ(next->decision.mode, RunMode::kExtents);
            EXPECT_TRUE(next->plan.test(9));
            EXPECT_TRUE(was_sealed || next->plan.test(3)) << writes;
        }
    }
}

TEST_F(RunPreparationTest, ACommitThatFailsLosesNothing) {
    PreparedRun run = prepare().value();
    store.writes_left = 0;
    EXPECT_FALSE(commit_run(run, store));
    store.writes_left = INT32_MAX;
    seal(run);
    next_changes(9);
    const auto next = prepare();
    ASSERT_TRUE(next) << next.error().text();
    EXPECT_EQ(next->decision.cause, Cause::kChangeList);
    EXPECT_TRUE(next->plan.test(9));
}

// A process that was stopped behind its End wakes up when another has begun a run.
TEST_F(RunPreparationTest, ACommitThatComesLateTakesNothingFromANewerRun) {
    PreparedRun first = prepare().value();
    seal(first);
    next_changes(9);
    const PreparedRun second = prepare().value();
    const TargetMemory memory = store.memories[kTarget];
    ASSERT_TRUE(commit_run(first, store));
    EXPECT_EQ(store.maps[kTarget], second.plan);
    EXPECT_EQ(store.memories[kTarget].open_runs, memory.open_runs);
    EXPECT_EQ(store.memories[kTarget].base, first.begin.next_base);
}

TEST_F(RunPreparationTest, DamagedPendingMeansEverything) {
    store.pending_damaged = true;
    const PreparedRun run = prepare().value();
    EXPECT_EQ(run.plan.marked_blocks(), 50U);
    EXPECT_EQ(store.maps[kTarget].marked_blocks(), 50U);
}

// A comparison notes what differs: that is less than what was pending and cannot be read.
TEST_F(RunPreparationTest, DamagedPendingIsNotForgottenByAComparison) {
    request.run.kind = Kind::kScan;
    PreparedRun run = prepare().value();
    run.plan = ChangeMap(request.run.volume_bytes, request.block_bytes);  // nothing differs
    store.pending_damaged = true;
    EXPECT_TRUE(note_plan(run, store));
    EXPECT_EQ(store.maps[kTarget].marked_blocks(), 50U);
}

TEST_F(RunPreparationTest, DamagedMemoryIsNoBase) {
    store.memory_damaged = true;
    EXPECT_EQ(prepare().error().code, Code::kRefused);
    request.run.kind = Kind::kAuto;
    EXPECT_EQ(prepare().value().decision.cause, Cause::kUnknownTarget);
}

TEST_F(RunPreparationTest, ADryRunWritesNothing) {
    const PreparedRun run = prepare().value();
    request.dry_run = true;
    store.writes_left = 0;
    EXPECT_TRUE(prepare());
    seal(run);
    EXPECT_TRUE(prepare());
}

TEST_F(RunPreparationTest, AResumedRunIsTheSameRun) {
    const PreparedRun first = prepare().value();
    cut_off(first);
    request.run.resume = true;
    request.extents.clear();
    const PreparedRun again = prepare().value();
    EXPECT_TRUE(again.begin.resume);
    EXPECT_EQ(again.begin.run, first.begin.run);
    EXPECT_EQ(again.begin.plan_digest, first.begin.plan_digest);
    EXPECT_NE(again.begin.hash_seed, first.begin.hash_seed);
    EXPECT_TRUE(again.plan.test(3));
    EXPECT_EQ(store.memories[kTarget].open_runs.size(), 1U);
}

TEST_F(RunPreparationTest, PendingOfAnotherBlockSizeIsCarriedOver) {
    cut_off(prepare().value());
    request.block_bytes = 4 * kBlock;
    next_changes(20);
    const PreparedRun run = prepare().value();
    EXPECT_TRUE(run.plan.test(0) && run.plan.test(5));
    EXPECT_EQ(run.plan.marked_blocks(), 2U);
}

// It goes on where the last sealed run was; one that was cut off has looked at nothing.
TEST_F(RunPreparationTest, TheRollingAuditMovesWithTheSeal) {
    constexpr std::int64_t kDay = 86'400'000;
    request.run.kind = Kind::kAuto;
    request.extents.clear();
    request.audit_period = std::chrono::days(10);
    store.memories[kTarget].audit = {.next_bytes = 48 * kBlock, .covered_ms = kDay};
    request.changes = {ChangeSet{.tracker = uuid_of(3),
                                 .sequence = 5,
                                 .after = 4,
                                 .trust = Trust::kExact,
                                 .changes = ChangeMap(kVolume, kBlock)}};
    request.changes.front().changes.mark_blocks({.first = 0, .count = 1});
    ASSERT_TRUE(store.save_harvest({.target = kTarget,
                                    .tracker = uuid_of(3),
                                    .sequence = 5,
                                    .changes = request.changes.front().changes}));
    store.memories[kTarget].base.tracker = uuid_of(3);
    opened.base.tracker = uuid_of(3);
    request.now_ms = 2 * kDay;
    PreparedRun run = prepare().value();
    ASSERT_EQ(run.decision.cause, Cause::kTracked);
    EXPECT_TRUE(run.begin.compare_listed);
    EXPECT_EQ(run.audit.marked_blocks(), 4U) << "48, 49, 1 and 2: 0 is sent";
    EXPECT_TRUE(run.audit.test(48) && run.audit.test(2) && !run.audit.test(0));
    EXPECT_EQ(store.memories[kTarget].audit.next_bytes, 48U * kBlock);
    ASSERT_TRUE(commit_run(run, store));
    EXPECT_EQ(store.memories[kTarget].audit,
              (RollingAudit{.next_bytes = 3 * kBlock, .covered_ms = 2 * kDay}));
}

TEST_F(RunPreparationTest, VolumesOfTooManyBlocksAreRefused) {
    request.run.volume_bytes = std::uint64_t{1} << 46;
    EXPECT_EQ(prepare().error().code, Code::kRefused);
}

}  // namespace
}  // namespace towline
