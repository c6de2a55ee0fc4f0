// SPDX-License-Identifier: Apache-2.0
// The steps of a plan cover its marked blocks, each once and in order, and call zeros only what no
// data range touches.

#include "userspace/engine/transfer_plan.hpp"

#include <gtest/gtest.h>

#include "io/simulated_random.hpp"

namespace towline {
namespace {

constexpr std::uint32_t kBlock = 4096;
constexpr std::uint64_t kBlocks = 150;

std::vector<Extent> random_ranges(SimulatedRandom& random, std::uint64_t end) {
    std::vector<Extent> ranges;
    for (std::uint64_t at = random.below(30000); at < end;) {
        const std::uint64_t length = 1 + random.below(40000);
        ranges.push_back({at, std::min(length, end - at)});
        at += length + 1 + random.below(40000);
    }
    return ranges;
}

TEST(TransferPlan, CoversWhatIsMarkedOnceAndInOrder) {
    for (std::uint64_t seed = 0; seed < 500; ++seed) {
        SimulatedRandom random(seed);
        const std::uint64_t volume = kBlocks * kBlock - random.below(kBlock);
        ChangeMap marked(volume, kBlock);
        for (const Extent& range : random_ranges(random, volume))
            marked.mark(range);
        const std::vector<Extent> data = random_ranges(random, volume);
        ChangeMap has_data(volume, kBlock);
        for (const Extent& range : data)
            has_data.mark(range);
        TransferPlan plan(marked, data, 5);
        ChangeMap seen(volume, kBlock);
        std::uint64_t next = 0;
        while (const auto step = plan.next()) {
            EXPECT_GE(step->run.first, next);
            next = step->run.end();
            EXPECT_TRUE(marked.all_set(step->run));
            EXPECT_EQ(step->extent, marked.extent_of(step->run));
            EXPECT_TRUE(step->zeros || step->run.count <= 5);
            EXPECT_TRUE(step->zeros ? !has_data.any_set(step->run) : has_data.all_set(step->run));
            seen.mark_blocks(step->run);
        }
        EXPECT_TRUE(plan.exhausted());
        EXPECT_EQ(seen, marked) << seed;
    }
}

TEST(TransferPlan, NothingMarkedIsNoStep) {
    const ChangeMap marked(kBlocks * kBlock, kBlock);
    const std::vector<Extent> data;
    TransferPlan plan(marked, data, 5);
    EXPECT_FALSE(plan.next());
    EXPECT_TRUE(plan.exhausted());
}

}  // namespace
}  // namespace towline
