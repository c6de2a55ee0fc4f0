// SPDX-License-Identifier: Apache-2.0
// Rules 1 to 3 as a user meets them: whose changes a target still lacks, when it is not the one
// that the source left, and when one side forgot what the other knows.

#include <gtest/gtest.h>

#include "tests/sim/sync_bench.hpp"

namespace towline {
namespace {

using Kind = RunRequest::Kind;

constexpr BenchShape kShape{.source_bytes = (256 << 10) + 512};

class Rules : public testing::Test {
  protected:
    Rules() : bench(7, kShape) {
        fill_random_data(bench.source, bench.random, 0, kShape.source_bytes);
        EXPECT_TRUE(run(Kind::kAuto).succeeded());
    }

    RunPlan plan(Kind kind, std::vector<Extent> extents = {}) {
        RunPlan plan;
        plan.kind = kind;
        plan.extents = std::move(extents);
        plan.block_bytes = 4096;
        plan.buffer_bytes = 16 << 10;
        plan.checkpoint_bytes = 32 << 10;
        return plan;
    }
    RunResult run(Kind kind, std::vector<Extent> extents = {}) {
        return bench.run(plan(kind, std::move(extents)));
    }
    // Changes a stretch of the source.
    Extent change(std::uint64_t block) {
        const Extent extent{block * 4096, 4096};
        fill_random_data(bench.source, bench.random, extent.offset_bytes, extent.end_bytes());
        return extent;
    }
    // What the source had not waited for is gone.
    void lose_power() {
        const SourceShelf shelf = bench.source_shelf;
        while (!bench.source_shelf.lose_power(bench.random))
            bench.source_shelf = shelf;
    }
    void expect_refused(const std::vector<Extent>& extents) {
        const auto before = bench.target.contents();
        const RunResult refused = run(Kind::kExtents, extents);
        ASSERT_TRUE(refused.source_error);
        EXPECT_EQ(refused.source_error->code, Code::kRefused);
        EXPECT_EQ(bench.target.contents(), before);
    }
    void expect_scan(Cause cause) {
        const RunResult result = run(Kind::kAuto);
        EXPECT_TRUE(result.succeeded());
        EXPECT_EQ(result.report.cause, cause);
        EXPECT_EQ(bench.difference(true), "");
    }

    SyncBench bench;
};

TEST_F(Rules, TwoTargetsOfOneSourceEachGetWhatTheyLack) {
    const auto first = bench.copy_target();
    bench.put_target({.shelf = {.exists = false}, .contents = {}});
    EXPECT_TRUE(run(Kind::kAuto).succeeded());
    EXPECT_NE(bench.target_shelf.record.target, first.shelf.record.target);
    // The second one's run with this list dies; only the first one's is sealed.
    const Extent early = change(3);
    RunPlan dying = plan(Kind::kExtents, {early});
    dying.target_hook = [&](StoreCall call, StoreMoment) {
        if (call == StoreCall::kSeal) bench.kill(Side::kTarget);
    };
    EXPECT_FALSE(bench.run(dying).succeeded());
    const auto second = bench.copy_target();
    bench.put_target(first);
    EXPECT_TRUE(run(Kind::kExtents, {early}).succeeded());
    EXPECT_EQ(bench.difference(true), "");
    // What is pending for the second is its own, and no run to the first has dropped it.
    bench.put_target(second);
    EXPECT_TRUE(run(Kind::kExtents, {change(9)}).succeeded());
    EXPECT_EQ(bench.difference(true), "");
}

TEST_F(Rules, ACopyOfATargetIsNotTheTarget) {
    const auto copy = bench.copy_target();
    EXPECT_TRUE(run(Kind::kExtents, {change(5)}).succeeded());
    bench.put_target(copy);
    const Extent later = change(6);
    expect_refused({later});
    expect_scan(Cause::kTargetDiffers);
}

TEST_F(Rules, ATargetRolledBackToAnUnfinishedRunIsScanned) {
    RunPlan dying = plan(Kind::kFull);
    dying.target_hook = [&](StoreCall call, StoreMoment moment) {
        if (call == StoreCall::kJournal && moment == StoreMoment::kAfter) bench.kill(Side::kTarget);
    };
    EXPECT_FALSE(bench.run(dying).succeeded());
    const auto unfinished = bench.copy_target();
    EXPECT_TRUE(run(Kind::kAuto).succeeded());
    const Extent later = change(6);
    EXPECT_TRUE(run(Kind::kExtents, {later}).succeeded());
    bench.put_target(unfinished);
    expect_refused({});
    RunPlan resumed = plan(Kind::kAuto);
    resumed.resume = true;
    const RunResult result = bench.run(resumed);
    EXPECT_TRUE(result.succeeded());
    EXPECT_FALSE(result.report.resumed);
    EXPECT_EQ(bench.difference(true), "");
}

TEST_F(Rules, ATargetThatAnotherStateFolderMovedOnIsScanned) {
    const SourceShelf ours = bench.source_shelf;
    EXPECT_TRUE(run(Kind::kExtents, {change(1)}).succeeded());
    const SourceShelf theirs = bench.source_shelf;
    bench.source_shelf = ours;
    expect_refused({change(2)});
    expect_scan(Cause::kTargetDiffers);
    bench.source_shelf = theirs;
    expect_refused({change(3)});
    expect_scan(Cause::kTargetDiffers);
}

// The source dies at its commit, or the target dies with the word that it sealed: the
// record is the new one, the source's memory the old one, and the next list stands all the same.
TEST_F(Rules, DeathBetweenSealAndCommitIsCaughtUpWith) {
    for (const StoreMoment moment :
         {StoreMoment::kBefore, StoreMoment::kWithin, StoreMoment::kAfter}) {
        RunPlan dying = plan(Kind::kExtents, {change(4)});
        dying.source_hook = [&](StoreCall call, StoreMoment when) {
            if (call == StoreCall::kSaveSealed && when == moment) bench.kill(Side::kSource);
        };
        EXPECT_TRUE(bench.run(dying).source_killed);
        EXPECT_EQ(bench.difference(true), "");
        const RunResult next = run(Kind::kExtents, {change(8)});
        EXPECT_TRUE(next.succeeded());
        EXPECT_EQ(next.report.cause, Cause::kChangeList);
        EXPECT_EQ(next.report.bytes_changed, 4096U);
        EXPECT_EQ(bench.difference(true), "");
    }
}

TEST_F(Rules, ASealThatTheSourceNeverHeardOfIsCaughtUpWith) {
    RunPlan dying = plan(Kind::kExtents, {change(4)});
    dying.target_hook = [&](StoreCall call, StoreMoment moment) {
        if (call == StoreCall::kSeal && moment == StoreMoment::kAfter) bench.kill(Side::kTarget);
    };
    EXPECT_FALSE(bench.run(dying).succeeded());
    const RunResult next = run(Kind::kExtents, {change(8)});
    EXPECT_TRUE(next.succeeded());
    EXPECT_EQ(next.report.bytes_changed, 4096U);
    EXPECT_EQ(bench.difference(true), "");
}

// Files do not wait for the note that a run is sealed: the target is asked.
TEST_F(Rules, ASealThatAPowerCutForgetsIsCaughtUpWith) {
    EXPECT_TRUE(run(Kind::kExtents, {change(4)}).succeeded());
    EXPECT_TRUE(bench.source_shelf.pending.empty());
    lose_power();
    EXPECT_FALSE(bench.source_shelf.pending.empty());
    const RunResult next = run(Kind::kExtents, {change(8)});
    EXPECT_TRUE(next.succeeded());
    EXPECT_EQ(next.report.bytes_changed, 4096U);
    EXPECT_TRUE(bench.source_shelf.pending.empty());
    EXPECT_EQ(bench.difference(true), "");
}

// And where the target cannot tell, what the run brought is there to be sent again.
TEST_F(Rules, ASealThatAPowerCutForgetsAndARollbackUndoesIsSentAgain) {
    const auto before = bench.copy_target();
    EXPECT_TRUE(run(Kind::kExtents, {change(4)}).succeeded());
    lose_power();
    bench.put_target(before);
    const RunResult next = run(Kind::kExtents, {change(8)});
    EXPECT_TRUE(next.succeeded());
    EXPECT_EQ(next.report.cause, Cause::kChangeList);
    EXPECT_EQ(next.report.bytes_changed, 2 * 4096U);
    EXPECT_EQ(bench.difference(true), "");
}

// Sealed, not committed, and then rolled back: the list that was sealed away is still needed.
TEST_F(Rules, ASealThatWasRolledBackIsNotCaughtUpWith) {
    const auto before = bench.copy_target();
    RunPlan dying = plan(Kind::kExtents, {change(4)});
    dying.target_hook = [&](StoreCall call, StoreMoment moment) {
        if (call == StoreCall::kSeal && moment == StoreMoment::kAfter) bench.kill(Side::kTarget);
    };
    EXPECT_FALSE(bench.run(dying).succeeded());
    bench.put_target(before);
    EXPECT_TRUE(run(Kind::kExtents, {change(8)}).succeeded());
    EXPECT_EQ(bench.difference(true), "");
}

// A comparison is resumed with a list, and dies before it has compared: the list is not given
// again.
TEST_F(Rules, AListGivenToAResumedComparisonIsKept) {
    change(30);
    RunPlan dying = plan(Kind::kScan);
    dying.direct = true;
    dying.target_hook = [&](StoreCall call, StoreMoment) {
        if (call == StoreCall::kSeal) bench.kill(Side::kTarget);
    };
    EXPECT_FALSE(bench.run(dying).succeeded());
    RunPlan resumed = plan(Kind::kExtents, {change(2)});
    resumed.resume = true;
    resumed.source_hook = [&](StoreCall call, StoreMoment moment) {
        if (call == StoreCall::kSaveBegun && moment == StoreMoment::kAfter)
            bench.kill(Side::kSource);
    };
    EXPECT_TRUE(bench.run(resumed).source_killed);
    EXPECT_TRUE(run(Kind::kExtents, {change(8)}).succeeded());
    EXPECT_EQ(bench.difference(true), "");
}

// Read back from the disk, not from what the source remembers.
TEST_F(Rules, AResumedRunComparesWhatWasAcknowledged) {
    RunPlan dying = plan(Kind::kFull);
    dying.direct = true;
    dying.target_hook = [&](StoreCall call, StoreMoment) {
        if (call == StoreCall::kSeal) bench.kill(Side::kTarget);
    };
    EXPECT_FALSE(bench.run(dying).succeeded());
    const auto acknowledged = bench.target_shelf.acknowledged();
    ASSERT_FALSE(acknowledged.empty());
    change(acknowledged.front().offset_bytes / 4096);
    RunPlan resumed = plan(Kind::kAuto);
    resumed.resume = true;
    const RunResult result = bench.run(resumed);
    EXPECT_TRUE(result.succeeded());
    EXPECT_TRUE(result.report.resumed);
    EXPECT_LE(result.stored_bytes + total_bytes(acknowledged), kShape.source_bytes + 4096);
    EXPECT_EQ(bench.difference(true), "");
}

// Put back to an older state, which its time tells; the run that looks is refused, or cut off
// before it has compared; then it is written to, and its time is a newer one.
TEST_F(Rules, ASourceThatWasPutBackIsComparedHoweverLate) {
    std::int64_t time = 0;
    for (const Kind kind : {Kind::kExtents, Kind::kScan}) {
        time += 100;
        RunPlan before = plan(Kind::kExtents, {change(4)});
        before.modified_ns = time + 20;
        EXPECT_TRUE(bench.run(before).succeeded());
        change(12);
        RunPlan looking = plan(kind);
        looking.modified_ns = time + 10;
        looking.source_hook = [&](StoreCall call, StoreMoment when) {
            if (call == StoreCall::kSave && when == StoreMoment::kAfter) bench.kill(Side::kSource);
        };
        EXPECT_FALSE(bench.run(looking).succeeded());
        RunPlan later = plan(Kind::kExtents, {change(8)});
        later.modified_ns = time + 30;
        EXPECT_FALSE(bench.run(later).succeeded());
        later.kind = Kind::kAuto;
        EXPECT_TRUE(bench.run(later).succeeded());
        EXPECT_EQ(bench.difference(true), "");
        later.kind = Kind::kExtents;
        EXPECT_TRUE(bench.run(later).succeeded());
    }
}

// A list is noted, and its run cut off; so is the one that sees the source smaller, as a logical
// volume is that is grown again with all that was in it.
TEST_F(Rules, WhatIsPendingOutlivesASourceThatShrinksAndGrows) {
    RunPlan dying = plan(Kind::kExtents, {change(60)});
    dying.source_hook = [&](StoreCall call, StoreMoment when) {
        if (call == StoreCall::kSaveBegun && when == StoreMoment::kAfter) bench.kill(Side::kSource);
    };
    EXPECT_TRUE(bench.run(dying).source_killed);
    const auto whole = bench.source.contents();
    bench.source.resize(128 << 10);
    change(3);
    RunPlan small = plan(Kind::kAuto);
    small.source_hook = dying.source_hook;
    EXPECT_TRUE(bench.run(small).source_killed);
    bench.source.resize(0);
    bench.source.resize(whole.size());
    bench.source.fill(0, whole);
    change(3);
    const RunResult listed = run(Kind::kExtents, {{3 * 4096, 4096}});
    EXPECT_FALSE(listed.succeeded());
    EXPECT_TRUE(run(Kind::kAuto).succeeded());
    EXPECT_EQ(bench.difference(true), "");
}

// Whoever asks for everything is not served by the rest of a list.
TEST_F(Rules, AListIsNotResumedInPlaceOfAComparison) {
    for (const Kind kind : {Kind::kScan, Kind::kFull}) {
        RunPlan dying = plan(Kind::kExtents, {change(4)});
        dying.target_hook = [&](StoreCall call, StoreMoment) {
            if (call == StoreCall::kSeal) bench.kill(Side::kTarget);
        };
        dying.direct = true;
        EXPECT_FALSE(bench.run(dying).succeeded());
        change(30);
        RunPlan all = plan(kind);
        all.resume = true;
        const RunResult result = bench.run(all);
        EXPECT_TRUE(result.succeeded());
        EXPECT_FALSE(result.report.resumed);
        EXPECT_EQ(bench.difference(true), "");
    }
}

}  // namespace
}  // namespace towline
