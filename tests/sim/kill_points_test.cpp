// SPDX-License-Identifier: Apache-2.0
// The target's process dies at each named point of a run: around the mark, a flush, a journal
// entry, an acknowledgement and the seal. Whatever it left, the next run makes it whole.

#include <gtest/gtest.h>

#include "tests/sim/sync_bench.hpp"

namespace towline {
namespace {

constexpr BenchShape kShape{.source_bytes = (300 << 10) + 77, .target_bytes = 64 << 10};
constexpr std::uint64_t kSeeds = 60;
constexpr int kHitsMin = 20;

struct Point {
    enum class Kind { kStore, kFlush, kAcknowledge };
    Kind kind = Kind::kStore;
    StoreCall call{};
    StoreMoment moment{};
};

// Arms a plan so that the target dies at the nth time that it comes to the point.
class Killer {
  public:
    Killer(SyncBench& bench, Point point, std::uint64_t nth)
        : bench_(bench),
          point_(point),
          nth_(nth),
          flushes_(bench.target.started_count(DiskOperation::kFlush)) {}

    void arm(RunPlan& plan) {
        plan.target_hook = [this](StoreCall call, StoreMoment moment) { on_call(call, moment); };
        plan.after_event = [this] { on_event(); };
    }

  private:
    void on_call(StoreCall call, StoreMoment moment) {
        if (point_.kind == Point::Kind::kAcknowledge) {
            if (call == StoreCall::kJournal && moment == StoreMoment::kAfter && ++seen_ == nth_)
                events_left_ = 1 + bench_.random.below(12);
        } else if (point_.kind == Point::Kind::kStore && call == point_.call &&
                   moment == point_.moment && ++seen_ == nth_) {
            bench_.kill(Side::kTarget);
        }
    }
    void on_event() {
        if (events_left_ > 0 && --events_left_ == 0) bench_.kill(Side::kTarget);
        const bool flushing = point_.kind == Point::Kind::kFlush &&
                              bench_.target.started_count(DiskOperation::kFlush) == flushes_ + nth_;
        if (flushing && !armed_) {
            armed_ = true;
            events_left_ = 1 + bench_.random.below(6);
        }
    }

    SyncBench& bench_;
    Point point_;
    std::uint64_t nth_;
    std::uint64_t flushes_;
    std::uint64_t seen_ = 0;
    std::uint64_t events_left_ = 0;
    bool armed_ = false;
};

RunPlan plan_of(std::uint64_t seed) {
    RunPlan plan;
    plan.overwrite = true;
    plan.kind = seed % 3 == 0 ? RunRequest::Kind::kScan : RunRequest::Kind::kFull;
    plan.block_bytes = 4096;
    plan.buffer_bytes = 16 << 10;
    plan.checkpoint_bytes = 16 << 10;
    plan.links.resize(1 + seed % 3);
    return plan;
}

// True: the target died.
bool die_at(Point point, std::uint64_t seed) {
    SyncBench bench(seed, kShape);
    fill_random_data(bench.source, bench.random, 0, kShape.source_bytes);
    fill_random_data(bench.target, bench.random, 0, kShape.target_bytes);
    RunPlan plan = plan_of(seed);
    const bool repeats = point.call != StoreCall::kMark && point.call != StoreCall::kSeal;
    Killer killer(bench, point, repeats ? 1 + seed % 3 : 1);
    killer.arm(plan);
    const RunResult result = bench.run(plan);
    EXPECT_EQ(result.end, RunEnd::kDone);
    EXPECT_TRUE(bench.acknowledged_is_durable(0)) << "seed " << seed;
    if (bench.target_shelf.record.state == TargetState::kSealed) {
        EXPECT_EQ(bench.difference(true), "") << "seed " << seed;
    }
    if (bench.random.chance(0.5)) bench.cut_power();
    RunPlan again = plan_of(seed);
    again.kind = RunRequest::Kind::kAuto;
    again.resume = bench.random.chance(0.7);
    EXPECT_TRUE(bench.run(again).succeeded()) << "seed " << seed;
    EXPECT_EQ(bench.difference(true), "") << "seed " << seed;
    EXPECT_EQ(bench.target_shelf.record.state, TargetState::kSealed);
    return result.target_killed;
}

void die_often(Point point) {
    int hits = 0;
    for (std::uint64_t seed = 1; seed <= kSeeds && !testing::Test::HasFailure(); ++seed)
        hits += die_at(point, seed);
    EXPECT_GE(hits, kHitsMin);
}

constexpr StoreMoment kMoments[] = {StoreMoment::kBefore, StoreMoment::kWithin,
                                    StoreMoment::kAfter};

TEST(KillPoints, AroundTheMark) {
    for (const StoreMoment moment : kMoments)
        die_often({.call = StoreCall::kMark, .moment = moment});
}

TEST(KillPoints, AroundAFlush) {
    die_often({.kind = Point::Kind::kFlush});
}

TEST(KillPoints, AroundAJournalEntry) {
    for (const StoreMoment moment : kMoments)
        die_often({.call = StoreCall::kJournal, .moment = moment});
}

TEST(KillPoints, AroundAnAcknowledgement) {
    die_often({.kind = Point::Kind::kAcknowledge});
}

TEST(KillPoints, AroundTheSeal) {
    for (const StoreMoment moment : kMoments)
        die_often({.call = StoreCall::kSeal, .moment = moment});
}

}  // namespace
}  // namespace towline
