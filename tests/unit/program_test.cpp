// SPDX-License-Identifier: Apache-2.0
#include "io/program.hpp"

#include <csignal>
#include <string>

#include <gtest/gtest.h>

namespace towline {
namespace {

TEST(Program, GivesWhatItSaidAndHowItEnded) {
    const auto end =
        run_program({"sh", "-c", "echo one; echo two; echo a >&2; echo ' b' >&2; exit 3"}, 60s);
    ASSERT_TRUE(end);
    EXPECT_EQ(end->exit_code, 3);
    EXPECT_EQ(end->output, "one\ntwo\n");
    EXPECT_EQ(end->complaint, "b");
}

TEST(Program, BothOutputsAreReadHoweverLongTheyAre) {
    const auto end = run_program(
        {"sh", "-c", "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2; echo >&2; echo x"},
        60s);
    ASSERT_TRUE(end);
    EXPECT_EQ(end->output.size(), 300002U);
}

TEST(Program, NoneOfThatNameIsUnsupported) {
    EXPECT_EQ(run_program({"towline-no-such-program"}, 60s).error().code, Code::kUnsupported);
}

TEST(Program, ItsLimitAsksItToEnd) {
    const auto late = run_program({"sleep", "1000"}, 50ms);
    EXPECT_EQ(late.error().code, Code::kTimeout);
}

TEST(Program, ASignalThatEndedItIsTold) {
    const auto end = run_program({"sh", "-c", "kill -9 $$"}, 60s);
    ASSERT_TRUE(end);
    EXPECT_EQ(end->exit_code, 128 + SIGKILL);
}

}  // namespace
}  // namespace towline
