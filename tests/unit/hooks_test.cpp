// SPDX-License-Identifier: Apache-2.0
// A hook that hangs or fails must not hold a run, nor outlive it.

#include "userspace/engine/hooks.hpp"

#include <chrono>
#include <csignal>
#include <fstream>

#include <gtest/gtest.h>

namespace towline {
namespace {

using std::chrono_literals::operator""ms;
namespace fs = std::filesystem;

class HooksTest : public ::testing::Test {
  protected:
    HooksTest() {
        std::string name = (fs::temp_directory_path() / "towline-hooks.XXXXXX").string();
        folder = ::mkdtemp(name.data());
    }
    ~HooksTest() override { fs::remove_all(folder); }
    void write(const std::string& script) {
        std::ofstream(folder / "pre-snapshot") << "#!/bin/sh\n" << script << "\n";
        fs::permissions(folder / "pre-snapshot", fs::perms::owner_all);
    }
    std::string text_of(const char* name) {
        std::string text;
        std::getline(std::ifstream(folder / name), text);
        return text;
    }
    fs::path folder;
};

TEST_F(HooksTest, OneThatIsMissingIsNone) {
    const Hooks hooks(folder, 1s);
    EXPECT_FALSE(hooks.has("pre-snapshot"));
    EXPECT_TRUE(hooks.run("pre-snapshot", {}));
    EXPECT_TRUE(Hooks().run("pre-snapshot", {}));
}

TEST_F(HooksTest, ItIsToldWhatItIsFor) {
    write("echo \"$TOWLINE_SOURCE $PATH\" >" + (folder / "said").string());
    ASSERT_TRUE(Hooks(folder, 5s).run("pre-snapshot", {{"TOWLINE_SOURCE", "/dev/x"}}));
    EXPECT_EQ(text_of("said").find("/dev/x /"), 0U);
}

TEST_F(HooksTest, AFailureIsOne) {
    write("exit 3");
    const Status ended = Hooks(folder, 5s).run("pre-snapshot", {});
    ASSERT_FALSE(ended);
    EXPECT_NE(ended.error().context.find("exit code 3"), std::string::npos);
}

TEST_F(HooksTest, WhatHangsIsEndedWithAllThatItStarted) {
    write("sleep 100 & echo $! >" + (folder / "helper").string() +
          "; trap '' TERM; wait; sleep 100");
    const Instant began = monotonic_now();
    const Status ended = Hooks(folder, 300ms).run("pre-snapshot", {});
    EXPECT_LT(monotonic_now() - began, 20s);
    ASSERT_FALSE(ended);
    EXPECT_EQ(ended.error().code, Code::kTimeout);
    const pid_t helper = std::stoi(text_of("helper"));
    for (int i = 0; i < 100 && ::kill(helper, 0) == 0 &&
                    fs::exists("/proc/" + std::to_string(helper) + "/exe");
         ++i)
        ::usleep(20000);
    std::error_code error;
    EXPECT_TRUE(fs::read_symlink("/proc/" + std::to_string(helper) + "/exe", error).empty());
}

}  // namespace
}  // namespace towline
