// SPDX-License-Identifier: Apache-2.0
// A peer or link that falls silent, at any byte of either direction of any connection: both sides
// end, in time, and the source says why.

#include <gtest/gtest.h>

#include "tests/sim/sync_bench.hpp"

namespace towline {
namespace {

constexpr BenchShape kShape{.source_bytes = 200 << 10};
// Silence, the last word's time, and what the run itself takes.
constexpr Duration kEndsWithin = kSilenceMax + std::chrono::seconds(5);

struct Stall {
    std::size_t links = 1;
    std::size_t link = 0;
    bool forward = true;
};

RunPlan stalled_plan(const Stall& stall, std::uint64_t at) {
    RunPlan plan;
    plan.block_bytes = 4096;
    plan.buffer_bytes = 16 << 10;
    plan.checkpoint_bytes = 32 << 10;
    plan.links.resize(stall.links);
    // Little room on each, so that the blocks are spread over all of them.
    for (ConnectionPlan& each : plan.links)
        each.first_to_second.buffer_bytes = 8 << 10;
    ConnectionPlan& link = plan.links[stall.link];
    (stall.forward ? link.first_to_second : link.second_to_first).stall_at = at;
    return plan;
}

// True: the stall came too late to matter.
bool survives(const Stall& stall, std::uint64_t at) {
    SyncBench bench(at + 1, kShape);
    fill_random_data(bench.source, bench.random, 0, kShape.source_bytes);
    const RunResult result = bench.run(stalled_plan(stall, at));
    EXPECT_EQ(result.end, RunEnd::kDone) << "at byte " << at;
    EXPECT_LT(result.elapsed, kEndsWithin) << "at byte " << at;
    if (result.succeeded()) {
        EXPECT_EQ(bench.difference(true), "");
        return true;
    }
    EXPECT_EQ(result.source_error->code, Code::kTimeout) << result.source_error->text();
    RunPlan again = stalled_plan({}, UINT64_MAX);
    again.resume = true;
    EXPECT_TRUE(bench.run(again).succeeded());
    EXPECT_EQ(bench.difference(true), "");
    return false;
}

std::uint64_t stall_everywhere(const Stall& stall, std::uint64_t step, std::uint64_t end) {
    std::uint64_t stalled = 0;
    for (std::uint64_t at = 0; at < end && !testing::Test::HasFailure(); at += at < 200 ? 13 : step)
        stalled += !survives(stall, at);
    return stalled;
}

TEST(Stall, OfBlocksOnTheWay) {
    EXPECT_GE(stall_everywhere({}, 3001, kShape.source_bytes), 60U);
}

TEST(Stall, OfAnswers) {
    EXPECT_GE(stall_everywhere({.forward = false}, 37, 1000), 20U);
}

TEST(Stall, OfAFurtherConnection) {
    EXPECT_GE(stall_everywhere({.links = 3, .link = 2}, 1009, kShape.source_bytes / 4), 30U);
}

TEST(Stall, OfAFurtherConnectionsAnswers) {
    EXPECT_GE(stall_everywhere({.links = 3, .link = 1, .forward = false}, 37, 100), 3U);
}

// 8 KiB a second: a frame of 128 KiB takes four times the limit on silence.
TEST(Stall, NoneWhereALinkIsOnlySlow) {
    constexpr Duration kStep = std::chrono::seconds(1);
    RunPlan plan;
    plan.links[0].first_to_second = {
        .buffer_bytes = 8 << 10, .latency_min = kStep, .latency_max = kStep, .partial_rate = 0};
    SyncBench bench(1, kShape);
    fill_random_data(bench.source, bench.random, 0, kShape.source_bytes);
    const RunResult result = bench.run(plan);
    EXPECT_TRUE(result.succeeded()) << result.source_error->text();
    EXPECT_GT(result.elapsed, 5 * kSilenceMax);
    EXPECT_EQ(bench.difference(true), "");
}

// The host of one side is gone, without a word.
TEST(Stall, OfAPeerThatDied) {
    for (std::uint64_t event = 0; event < 300 && !testing::Test::HasFailure(); event += 7) {
        for (const Side side : {Side::kSource, Side::kTarget}) {
            SyncBench bench(event, kShape);
            fill_random_data(bench.source, bench.random, 0, kShape.source_bytes);
            RunPlan plan = stalled_plan({}, UINT64_MAX);
            plan.kill = Kill{side, event, KillStyle::kSilent};
            const RunResult result = bench.run(plan);
            EXPECT_EQ(result.end, RunEnd::kDone) << "event " << event;
            EXPECT_LT(result.elapsed, kEndsWithin);
            if (side == Side::kTarget && result.source_error) {
                EXPECT_EQ(result.source_error->code, Code::kTimeout) << result.source_error->text();
            }
            EXPECT_TRUE(bench.run(stalled_plan({}, UINT64_MAX)).succeeded());
            EXPECT_EQ(bench.difference(true), "");
        }
    }
}

}  // namespace
}  // namespace towline
