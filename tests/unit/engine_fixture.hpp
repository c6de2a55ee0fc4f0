// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the tests of the engines share: each runs over every engine that the system has.

#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <random>
#include <string>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "io/buffer_pool.hpp"
#include "io/engine.hpp"
#include "io/fd.hpp"

namespace towline {

// A folder that goes away with the test: not the one of storage_fixture.hpp, so not of its name.
class EngineFolder {
  public:
    EngineFolder() {
        std::string name = (std::filesystem::temp_directory_path() / "towline-XXXXXX").string();
        CHECK(::mkdtemp(name.data()) != nullptr);
        path_ = name;
    }
    ~EngineFolder() { std::filesystem::remove_all(path_); }
    EngineFolder(const EngineFolder&) = delete;
    EngineFolder& operator=(const EngineFolder&) = delete;
    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

// One operation and what came of it.
struct Outcome {
    std::int64_t result = 0;
    int count = 0;
    Completion done{[this](std::int64_t value) {
        result = value;
        ++count;
    }};
};

inline void fill_noise(MutableByteSpan bytes, unsigned seed) {
    std::mt19937 noise(seed);
    for (std::byte& byte : bytes)
        byte = static_cast<std::byte>(noise());
}

class EngineTest : public testing::TestWithParam<EngineKind> {
  protected:
    void SetUp() override {
        auto made = make_engine(GetParam());
        ASSERT_TRUE(made) << made.error().text();
        engine_ = std::move(*made);
    }

    template <typename Condition>
    void run_until(Condition condition) {
        while (!condition()) {
            const Status status = engine_->run_once();
            ASSERT_TRUE(status) << status.error().text();
        }
    }
    std::int64_t result_of(Outcome& outcome) {
        run_until([&] { return outcome.count > 0; });
        return outcome.result;
    }
    void drain() {
        run_until([&] { return engine_->in_flight() == 0; });
    }

    Handle attach(const Fd& fd) {
        auto handle = engine_->attach(fd.get());
        EXPECT_TRUE(handle) << handle.error().text();
        return handle ? *handle : Handle{};
    }
    Fd open_file(const std::string& name, int flags) {
        return Fd(::open((folder_.path() / name).c_str(), flags | O_CLOEXEC, 0600));
    }

    EngineFolder folder_;
    std::unique_ptr<IoEngine> engine_;
};

inline std::string engine_kind_name(const testing::TestParamInfo<EngineKind>& info) {
    return info.param == EngineKind::kUring ? "uring" : "aio";
}

// For each file of tests, in its own suite.
#define TOWLINE_OVER_ENGINES(suite)                                                              \
    INSTANTIATE_TEST_SUITE_P(Over, suite, testing::Values(EngineKind::kUring, EngineKind::kAio), \
                             engine_kind_name)

}  // namespace towline
