// SPDX-License-Identifier: Apache-2.0
// Every single operation of a small run fails once: the run must say so, with that very error, and
// the next one must put it right.

#include <gtest/gtest.h>

#include "tests/sim/sync_bench.hpp"

namespace towline {
namespace {

constexpr BenchShape kImage{.source_bytes = (96 << 10) + 100, .target_bytes = 40 << 10};
constexpr BenchShape kDevice{
    .source_bytes = (96 << 10) + 100, .target_bytes = 128 << 10, .target_is_image = false};

// Data, a stretch of zeros in the middle, and other data at the target.
void fill(SyncBench& bench) {
    fill_random_data(bench.source, bench.random, 0, bench.shape.source_bytes);
    bench.source.fill(32 << 10, std::vector<std::byte>(16 << 10));
    fill_random_data(bench.target, bench.random, 0, 40 << 10);
}

RunPlan small_plan(RunRequest::Kind kind, std::size_t links) {
    RunPlan plan;
    plan.kind = kind;
    plan.overwrite = true;
    plan.block_bytes = 4096;
    plan.buffer_bytes = 16 << 10;
    plan.checkpoint_bytes = 16 << 10;
    plan.links.resize(links);
    return plan;
}

enum class Where { kTarget, kSource };

struct Case {
    BenchShape shape;
    RunRequest::Kind kind{};
    std::size_t links = 0;
};

const Case kCases[] = {{kImage, RunRequest::Kind::kFull, 1},
                       {kDevice, RunRequest::Kind::kFull, 3},
                       {kImage, RunRequest::Kind::kScan, 2},
                       {kDevice, RunRequest::Kind::kScan, 1}};

SimulatedDisk& disk_of(SyncBench& bench, Where where) {
    return where == Where::kTarget ? bench.target : bench.source;
}

// False: the run did not come to its nth operation.
bool fail_nth(const Case& each, Where where, DiskOperation operation, std::uint64_t nth,
              int system_errno) {
    SyncBench bench(nth, each.shape);
    fill(bench);
    disk_of(bench, where).add_fault({operation, nth, system_errno});
    const RunResult failed = bench.run(small_plan(each.kind, each.links));
    if (disk_of(bench, where).started_count(operation) < nth) return false;
    EXPECT_EQ(failed.end, RunEnd::kDone);
    EXPECT_FALSE(failed.succeeded());
    if (failed.source_error) {
        const Code expected = system_errno == ENOSPC ? Code::kNoSpace : Code::kIo;
        EXPECT_EQ(failed.source_error->code, expected) << failed.source_error->text();
        EXPECT_EQ(failed.source_error->system_errno, system_errno);
    }
    EXPECT_NE(bench.target_shelf.record.state, TargetState::kSealed);
    EXPECT_TRUE(bench.rest_untouched());

    disk_of(bench, where).clear_faults();
    RunPlan next =
        small_plan(nth % 2 == 0 ? RunRequest::Kind::kAuto : RunRequest::Kind::kScan, each.links);
    next.resume = nth % 3 == 0;
    const RunResult again = bench.run(next);
    EXPECT_TRUE(again.succeeded());
    if (operation == DiskOperation::kFlush) {
        EXPECT_EQ(again.report.cause, Cause::kTargetFlushFailed);
    }
    EXPECT_EQ(bench.difference(false), "");
    EXPECT_EQ(bench.difference(true), "");
    EXPECT_TRUE(bench.rest_untouched());
    return true;
}

std::uint64_t fail_every(Where where, DiskOperation operation, int system_errno) {
    std::uint64_t total = 0;
    for (const Case& each : kCases) {
        std::uint64_t nth = 1;
        while (fail_nth(each, where, operation, nth, system_errno) && !testing::Test::HasFailure())
            ++nth;
        total += nth - 1;
    }
    return total;
}

TEST(DiskErrors, EveryWriteOfATargetThatIsFull) {
    EXPECT_GE(fail_every(Where::kTarget, DiskOperation::kWrite, ENOSPC), 20U);
}

TEST(DiskErrors, EveryWriteOfATarget) {
    EXPECT_GE(fail_every(Where::kTarget, DiskOperation::kWrite, EIO), 20U);
}

TEST(DiskErrors, EveryZeroingOfATarget) {
    EXPECT_GE(fail_every(Where::kTarget, DiskOperation::kZero, EIO), 4U);
    EXPECT_GE(fail_every(Where::kTarget, DiskOperation::kZero, ENOSPC), 4U);
}

TEST(DiskErrors, EveryFlushOfATarget) {
    EXPECT_GE(fail_every(Where::kTarget, DiskOperation::kFlush, EIO), 6U);
    EXPECT_GE(fail_every(Where::kTarget, DiskOperation::kFlush, ENOSPC), 6U);
}

// A comparison that finds all equal flushes too, and marks nothing before that.
TEST(DiskErrors, TheFlushOfARunThatBringsNothing) {
    SyncBench bench(1, kDevice);
    fill(bench);
    EXPECT_TRUE(bench.run(small_plan(RunRequest::Kind::kFull, 1)).succeeded());
    bench.target.add_fault({DiskOperation::kFlush, 1, EIO});
    EXPECT_FALSE(bench.run(small_plan(RunRequest::Kind::kScan, 1)).succeeded());
    RunPlan listed = small_plan(RunRequest::Kind::kExtents, 1);
    const RunResult refused = bench.run(listed);
    ASSERT_TRUE(refused.source_error);
    EXPECT_EQ(refused.source_error->code, Code::kRefused);
    const RunResult again = bench.run(small_plan(RunRequest::Kind::kAuto, 1));
    EXPECT_TRUE(again.succeeded());
    EXPECT_EQ(again.report.cause, Cause::kTargetFlushFailed);
    EXPECT_TRUE(bench.run(listed).succeeded());
}

// The full run that makes it good is cut off as well: it goes on, and a comparison takes its place
// no more than before.
TEST(DiskErrors, TheRunAfterAFailedFlushIsCutOff) {
    for (const bool resume : {false, true}) {
        SyncBench bench(3, kDevice);
        fill(bench);
        bench.target.add_fault({DiskOperation::kFlush, 2, EIO});
        EXPECT_FALSE(bench.run(small_plan(RunRequest::Kind::kFull, 1)).succeeded());
        RunPlan dying = small_plan(RunRequest::Kind::kScan, 1);
        dying.target_hook = [&](StoreCall call, StoreMoment) {
            if (call == StoreCall::kSeal) bench.kill(Side::kTarget);
        };
        EXPECT_FALSE(bench.run(dying).succeeded());
        RunPlan next = small_plan(RunRequest::Kind::kScan, 1);
        next.resume = resume;
        const RunResult again = bench.run(next);
        EXPECT_TRUE(again.succeeded());
        EXPECT_EQ(again.report.mode, RunMode::kFull);
        EXPECT_EQ(again.report.resumed, resume);
        EXPECT_EQ(bench.difference(true), "");
    }
}

// Whatever broke the volume broke the target's state folder too: then the source alone remembers.
TEST(DiskErrors, AFailedFlushThatTheTargetCannotNote) {
    std::uint64_t unnoted = 0;
    for (std::uint64_t flush = 1; flush <= 4; ++flush) {
        for (std::uint64_t nth = 1; nth <= 12; ++nth) {
            SyncBench bench(nth, kDevice);
            fill(bench);
            bench.target.add_fault({DiskOperation::kFlush, flush, EIO});
            RunPlan plan = small_plan(RunRequest::Kind::kFull, 1);
            plan.target_fault = {nth, EIO, false};
            const RunResult failed = bench.run(plan);
            bench.target.clear_faults();
            unnoted += failed.source_error &&
                       failed.source_error->context.find("nor note that") != std::string::npos;
            EXPECT_TRUE(bench.run(small_plan(RunRequest::Kind::kScan, 1)).succeeded());
            EXPECT_EQ(bench.difference(true), "") << "flush " << flush << ", call " << nth;
        }
    }
    EXPECT_GE(unnoted, 1U);
}

// The link goes while the flush is under way: the session is over, and its flush still counts.
TEST(DiskErrors, AFailedFlushThatNobodyWaitsForAnyMore) {
    std::uint64_t late = 0;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        SyncBench bench(seed, kDevice);
        fill(bench);
        bench.target.plan().delay_min = bench.target.plan().delay_max =
            std::chrono::milliseconds(50);
        bench.target.add_fault({DiskOperation::kFlush, 1, EIO});
        RunPlan plan = small_plan(RunRequest::Kind::kFull, 1);
        std::uint64_t events_left = seed;
        plan.after_event = [&] {
            const bool flushing = bench.target.started_count(DiskOperation::kFlush) > 0;
            if (flushing && events_left > 0 && --events_left == 0)
                bench.kill(Side::kSource, KillStyle::kReset);
        };
        const RunResult failed = bench.run(plan);
        bench.target.clear_faults();
        late += failed.source_killed;
        EXPECT_FALSE(failed.sealed);
        EXPECT_TRUE(bench.run(small_plan(RunRequest::Kind::kScan, 1)).succeeded());
        EXPECT_EQ(bench.difference(true), "") << "seed " << seed;
    }
    EXPECT_GE(late, 5U);
}

TEST(DiskErrors, EveryReadOfATarget) {
    EXPECT_GE(fail_every(Where::kTarget, DiskOperation::kRead, EIO), 4U);
}

TEST(DiskErrors, EveryReadOfASource) {
    EXPECT_GE(fail_every(Where::kSource, DiskOperation::kRead, EIO), 20U);
}

// The state folders: every change of theirs fails, before or after it had its effect.
void fail_state(bool at_source, std::uint64_t nth, int system_errno, bool late) {
    SyncBench bench(nth, kImage);
    fill(bench);
    RunPlan plan = small_plan(RunRequest::Kind::kFull, 2);
    (at_source ? plan.source_fault : plan.target_fault) = {nth, system_errno, late};
    const RunResult failed = bench.run(plan);
    EXPECT_EQ(failed.end, RunEnd::kDone);
    if (failed.source_error) {
        EXPECT_EQ(failed.source_error->system_errno, system_errno);
    } else {
        EXPECT_EQ(bench.difference(true), "");
    }
    if (bench.target_shelf.record.state == TargetState::kSealed) {
        EXPECT_EQ(bench.difference(true), "");
    }
    const RunResult again = bench.run(small_plan(RunRequest::Kind::kAuto, 1));
    EXPECT_TRUE(again.succeeded());
    EXPECT_EQ(bench.difference(true), "");
}

TEST(DiskErrors, EveryChangeOfAStateFolder) {
    for (std::uint64_t nth = 1; nth <= 12; ++nth) {
        for (const int system_errno : {EIO, ENOSPC}) {
            for (const bool late : {false, true}) {
                fail_state(true, nth, system_errno, late);
                fail_state(false, nth, system_errno, late);
            }
        }
    }
}

}  // namespace
}  // namespace towline
