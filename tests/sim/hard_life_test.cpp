// SPDX-License-Identifier: Apache-2.0
// Hard lives by the hundred. TOWLINE_SEED is the first seed; there are half as many as
// TOWLINE_COUNT says, as each is twice of what others run so often.

#include "tests/sim/hard_life.hpp"

#include <cstdio>

#include <gtest/gtest.h>

#include "tests/environment.hpp"

namespace towline {
namespace {

TEST(HardLife, WhatIsSealedIsTheMoment) {
    const std::uint64_t first = testing::from_environment("TOWLINE_SEED", 1);
    const std::uint64_t count = (testing::from_environment("TOWLINE_COUNT", 300) + 1) / 2;
    int sealed = 0;
    int upon_base = 0;
    std::map<std::string, int> incidents;
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        HardLife life(seed);
        const std::string wrong = life.live();
        EXPECT_EQ(wrong, "") << "replay: TOWLINE_SEED=" << seed << " TOWLINE_COUNT=1";
        sealed += life.sealed();
        upon_base += life.upon_base();
        for (const auto& [what, times] : life.incidents())
            incidents[what] += times;
    }
    std::printf("%lu lives: %d runs sealed, %d of them upon a base\n", count, sealed, upon_base);
    for (const auto& [what, times] : incidents)
        std::printf("  %d times %s\n", times, what.c_str());
    if (count < 100) return;
    EXPECT_GT(upon_base, static_cast<int>(count) / 2);
    EXPECT_GE(incidents.size(), 15U);
}

}  // namespace
}  // namespace towline
