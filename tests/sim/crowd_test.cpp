// SPDX-License-Identifier: Apache-2.0
// Crowds by the hundred. TOWLINE_SEED is the first seed; there are half as many as TOWLINE_COUNT
// says, as each is several runs at once.

#include "tests/sim/crowd.hpp"

#include <cstdio>

#include <gtest/gtest.h>

#include "tests/environment.hpp"

namespace towline {
namespace {

TEST(Crowd, WhatIsSealedIsTheMoment) {
    const std::uint64_t first = testing::from_environment("TOWLINE_SEED", 1);
    const std::uint64_t count = (testing::from_environment("TOWLINE_COUNT", 300) + 1) / 2;
    std::map<std::string, int> events;
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        Crowd crowd(seed);
        const std::string wrong = crowd.live();
        EXPECT_EQ(wrong, "") << "replay: TOWLINE_SEED=" << seed << " TOWLINE_COUNT=1";
        for (const auto& [what, times] : crowd.events())
            events[what] += times;
    }
    for (const auto& [what, times] : events)
        std::printf("  %d times %s\n", times, what.c_str());
    if (count < 100) return;
    for (const char* each : {"fenced", "fenced asleep", "refused the name", "upon a base",
                             "resumed", "the server dies"})
        EXPECT_GT(events[each], 0) << each;
}

}  // namespace
}  // namespace towline
