// SPDX-License-Identifier: Apache-2.0
// Lives of a vault by the hundred. TOWLINE_SEED is the first seed, TOWLINE_COUNT how many sessions
// there are in all of them, each a state.

#include "tests/sim/vault_life.hpp"

#include <cstdio>

#include <gtest/gtest.h>

#include "tests/environment.hpp"

namespace towline::testing {
namespace {

constexpr int kSessions = 15;

}  // namespace

TEST(VaultPowerLife, WhatWasSealedIsTheMoment) {
    const std::uint64_t first = from_environment("TOWLINE_SEED", 1);
    const std::uint64_t count =
        (from_environment("TOWLINE_COUNT", 400) + kSessions - 1) / kSessions;
    std::map<std::string, int> events;
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        VaultLife life(seed);
        const std::string wrong = life.live(kSessions);
        EXPECT_EQ(wrong, "") << "replay: TOWLINE_SEED=" << seed << " TOWLINE_COUNT=" << kSessions;
        for (const auto& [what, times] : life.events())
            events[what] += times;
    }
    for (const auto& [what, times] : events)
        if (!what.starts_with("disk")) std::printf("  %d times %s\n", times, what.c_str());
    if (count < 100) return;
    for (const char* each : {"resumed, full", "resumed, extents", "resumed, scan", "usurped",
                             "compacted", "the power went", "blocks are mended"})
        EXPECT_GT(events[each], 0) << each;
}

// The same seed is the same life.
TEST(VaultPowerLife, ALifeReplays) {
    std::map<std::string, int> events;
    for (const bool again : {false, true}) {
        VaultLife life(8);
        EXPECT_EQ(life.live(kSessions), "");
        if (again) {
            EXPECT_EQ(life.events(), events);
        }
        events = life.events();
    }
}

}  // namespace towline::testing
