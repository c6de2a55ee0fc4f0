// SPDX-License-Identifier: Apache-2.0
// Seeds by the thousand. Every seed runs in a child process: a CHECK that a peer or a disk brings
// about is then a failure of its seed and no other, and what killed sides leave behind goes with
// it. TOWLINE_SEED is the first seed, TOWLINE_COUNT how many.

#include <cstdio>
#include <cstdlib>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "tests/environment.hpp"
#include "tests/sim/scenario.hpp"

namespace towline {
namespace {

[[noreturn]] void run_child(std::uint64_t seed) {
    Scenario scenario(seed);
    const std::string wrong = scenario.run();
    if (!wrong.empty()) std::fprintf(stderr, "seed %lu: %s", seed, wrong.c_str());
    std::fflush(stderr);
    ::_exit(wrong.empty() ? 0 : 1);
}

bool seed_holds(std::uint64_t seed) {
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child == 0) run_child(seed);
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child) return false;
    if (WIFSIGNALED(status))
        std::fprintf(stderr, "seed %lu: died of signal %d\n", seed, WTERMSIG(status));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(Campaign, EverySeedEndsEqual) {
    const std::uint64_t first = testing::from_environment("TOWLINE_SEED", 1);
    const std::uint64_t count = testing::from_environment("TOWLINE_COUNT", 1000);
    std::uint64_t failed = 0;
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        if (seed_holds(seed)) continue;
        ++failed;
        ADD_FAILURE() << "replay: TOWLINE_SEED=" << seed
                      << " TOWLINE_COUNT=1 sim_tests --gtest_filter='Campaign.EverySeedEndsEqual'";
    }
    std::printf("%lu of %lu seeds held\n", count - failed, count);
}

TEST(Campaign, TheSameSeedLeavesTheSameTrace) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        Scenario first(seed);
        Scenario second(seed);
        EXPECT_EQ(first.run(), second.run());
        EXPECT_EQ(first.trace_digest(), second.trace_digest()) << "seed " << seed;
    }
}

}  // namespace
}  // namespace towline
