// SPDX-License-Identifier: Apache-2.0
// One tracker, two targets, and everything that can come between a freeze and a commit (rules 1 to
// 3): sides that die at any event or store call, hosts that crash, gaps, another tracking, and a
// stranger who takes an epoch. The source is written to all the while. Whatever a run says is
// sealed holds the very bytes of its moment.

#include <algorithm>

#include <gtest/gtest.h>

#include "tests/environment.hpp"
#include "tests/sim/simulated_tracker.hpp"
#include "tests/sim/sync_bench.hpp"

namespace towline {
namespace {

constexpr BenchShape kShape{.source_bytes = (512 << 10) + 512};
constexpr std::uint32_t kTrackedBlock = 4096;

class TrackedLife {
  public:
    explicit TrackedLife(std::uint64_t seed)
        : bench_(seed, kShape),
          random_(SimulatedRandom::mix(seed ^ 0x747261)),
          tracker_(kShape.source_bytes, kTrackedBlock, random_) {
        fill_random_data(bench_.source, random_, 0, kShape.source_bytes);
        targets_.fill({.shelf = {.exists = false}, .contents = {}});
    }

    // Empty: everything held.
    std::string live() {
        const std::uint64_t rounds = random_.between(3, 9);
        for (std::uint64_t round = 0; round < rounds && wrong_.empty(); ++round) {
            write_some(random_.between(0, 5));
            if (random_.chance(0.25)) incident();
            run_to(random_.below(2), random_.chance(0.5));
        }
        for (std::size_t target = 0; target < 2 && wrong_.empty(); ++target) {
            write_some(2);
            if (!run_to(target, false)) wrong("a run without faults failed");
        }
        return wrong_;
    }
    int incremental() const { return incremental_; }
    int compared() const { return compared_; }

  private:
    void write_some(std::uint64_t count) {
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::uint64_t offset = random_.below(kShape.source_bytes);
            const std::uint64_t length =
                random_.between(1, std::min<std::uint64_t>(kShape.source_bytes - offset, 20000));
            fill_random_data(bench_.source, random_, offset, offset + length);
            tracker_.wrote({offset, length});
        }
    }

    void incident() {
        switch (random_.below(5)) {
            case 0:
                write_some(1);
                return tracker_.attach_anew();
            case 1:
                return tracker_.miss_something();
            case 2: {  // another state folder's run
                write_some(1);
                const ChangeSet set = tracker_.freeze();
                return tracker_.commit(set.sequence);
            }
            default:
                return tracker_.crash();
        }
    }

    RunPlan plan(bool faulty) {
        RunPlan plan;
        plan.block_bytes = random_.chance(0.7) ? 4096 : 16 << 10;
        plan.buffer_bytes = 16 << 10;
        plan.checkpoint_bytes = 32 << 10;
        plan.resume = random_.chance(0.4);
        plan.audit_blocks = random_.chance(0.5) ? 8 : 0;
        plan.after_event = [this] {
            if (random_.chance(0.02)) write_some(1);
        };
        kill_at_call_.reset();
        plan.source_hook = [this](StoreCall call, StoreMoment) { on_store_call(call); };
        if (!faulty) return plan;
        if (random_.chance(0.3)) {
            const std::uint64_t nth = random_.between(1, 6);
            plan.source_fault = {.nth = nth, .late = random_.chance(0.5)};
        } else if (random_.chance(0.5)) {
            const auto side = random_.chance(0.5) ? Side::kSource : Side::kTarget;
            plan.kill = Kill{.side = side, .event = random_.below(400)};
        } else {
            kill_at_store();
        }
        return plan;
    }

    void on_store_call(StoreCall call) {
        // Another run that wrote to them meanwhile would lose its marks.
        if (call == StoreCall::kSaveHarvest && !moments_.back()->locked())
            wrong("a harvest is written without its lock");
        if (kill_at_call_ && (*kill_at_call_)-- == 0) bench_.kill(Side::kSource);
    }

    void kill_at_store() {
        const std::uint64_t nth = random_.below(12);
        kill_at_call_ = nth;
    }

    bool run_to(std::size_t target, bool faulty) {
        bench_.put_target(targets_[target]);
        moments_.push_back(
            std::make_unique<SimulatedMoment>(bench_.world, tracker_, bench_.source));
        SimulatedMoment& moment = *moments_.back();
        RunPlan with = plan(faulty);
        with.moment = &moment;
        const RunResult result = bench_.run(with);
        if (result.end != RunEnd::kDone) return wrong("the run hangs");
        // No link or disk is damaged here, and the tracker forgets nothing.
        if (result.source_error && result.source_error->code == Code::kCorrupt)
            return wrong("a false alarm: " + result.source_error->text());
        const bool sealed = bench_.target_shelf.record.state == TargetState::kSealed;
        if (result.succeeded() || (result.sealed && sealed)) {
            incremental_ += result.report.cause == Cause::kTracked ? 1 : 0;
            compared_ += result.report.mode == RunMode::kScan ? 1 : 0;
            if (bench_.target.durable_contents() != moment.contents())
                return wrong("sealed, but not the moment: cause " +
                             std::string(cause_name(result.report.cause)));
        }
        targets_[target] = bench_.copy_target();
        return result.succeeded();
    }

    bool wrong(std::string what) {
        wrong_ = std::move(what);
        return false;
    }

    SyncBench bench_;
    SimulatedRandom random_;
    SimulatedTracker tracker_;
    std::array<SyncBench::TargetCopy, 2> targets_;
    std::vector<std::unique_ptr<SimulatedMoment>> moments_;  // dead runs' engines know the disks
    std::optional<std::uint64_t> kill_at_call_;
    int incremental_ = 0;
    int compared_ = 0;
    std::string wrong_;
};

TEST(Tracked, WhatIsSealedIsTheMoment) {
    const std::uint64_t first = testing::from_environment("TOWLINE_SEED", 1);
    const std::uint64_t count = testing::from_environment("TOWLINE_COUNT", 150);
    int incremental = 0;
    int compared = 0;
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        TrackedLife life(seed);
        const std::string wrong = life.live();
        EXPECT_EQ(wrong, "") << "replay: TOWLINE_SEED=" << seed << " TOWLINE_COUNT=1";
        incremental += life.incremental();
        compared += life.compared();
    }
    std::printf("%lu lives: %d incremental runs, %d comparisons\n", count, incremental, compared);
    if (count >= 100) {
        EXPECT_GT(incremental, static_cast<int>(count) / 2);
        EXPECT_GT(compared, static_cast<int>(count) / 2);
    }
}

// A tracker that forgets one mark in a thousand: of 129 blocks 64 are looked at a run, so that ten
// runs miss a forgotten one with a chance below a thousandth. The alarm stops the run, and the next
// one compares and ends equal.
TEST(Tracked, ATrackerThatForgetsIsFoundOut) {
    constexpr int kRunsMax = 1000;  // until it has forgotten one that is not written to soon again
    constexpr int kStaleRunsMax = 10;
    SyncBench bench(11, kShape);
    SimulatedRandom random(12);
    SimulatedTracker tracker(kShape.source_bytes, kTrackedBlock, random);
    tracker.forget_one_of(1000);
    fill_random_data(bench.source, random, 0, kShape.source_bytes);
    std::vector<std::unique_ptr<SimulatedMoment>> moments;
    const auto run = [&] {
        moments.push_back(std::make_unique<SimulatedMoment>(bench.world, tracker, bench.source));
        RunPlan plan{.block_bytes = kTrackedBlock, .audit_blocks = 64};
        plan.moment = moments.back().get();
        return bench.run(plan);
    };
    ASSERT_TRUE(run().succeeded());
    int alarms = 0;
    int stale_runs = 0;
    for (int runs = 0; runs < kRunsMax && alarms == 0; ++runs) {
        for (int i = 0; i < 40; ++i) {
            const std::uint64_t block = random.below(128);
            const Extent extent{block * kTrackedBlock, kTrackedBlock};
            fill_random_data(bench.source, random, extent.offset_bytes, extent.end_bytes());
            tracker.wrote(extent);
        }
        const RunResult result = run();
        if (result.succeeded()) {
            EXPECT_EQ(result.report.cause, Cause::kTracked);
            EXPECT_GT(result.report.audited_blocks, 0U);
            stale_runs += bench.difference(true).empty() ? 0 : 1;
            continue;
        }
        ++alarms;
        EXPECT_EQ(result.source_error->code, Code::kCorrupt);
        EXPECT_NE(result.source_error->text().find("held to be unchanged"), std::string::npos);
    }
    EXPECT_EQ(alarms, 1);
    EXPECT_LE(stale_runs, kStaleRunsMax);
    const RunResult healed = run();
    ASSERT_TRUE(healed.succeeded());
    EXPECT_EQ(healed.report.cause, Cause::kAuditFailed);
    EXPECT_EQ(bench.difference(true), "");
    EXPECT_EQ(run().report.cause, Cause::kTracked);
}

}  // namespace
}  // namespace towline
