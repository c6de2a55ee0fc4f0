// SPDX-License-Identifier: Apache-2.0
#pragma once

// Folders, image files, loop devices and mounts for tests, each taken down by the object that set
// it up, so that a failing test leaves nothing behind.

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <iostream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "io/fd.hpp"
#include "io/result.hpp"

namespace towline::testing {

// The error of what has to fail; a failed test where it did not.
template <typename T>
Error error_of(const Result<T>& result) {
    if (!result) return result.error();
    ADD_FAILURE() << "succeeded, and must not";
    return Error{Code::kCancelled, 0, ""};
}

// The output of a command without the last line's end; nothing when it failed.
inline std::string output_of(const std::string& command) {
    FILE* pipe = ::popen((command + " 2>/dev/null").c_str(), "re");
    if (pipe == nullptr) return {};
    std::string text;
    std::array<char, 512> piece{};
    while (const std::size_t got = std::fread(piece.data(), 1, piece.size(), pipe))
        text.append(piece.data(), got);
    if (::pclose(pipe) != 0) return {};
    while (!text.empty() && text.back() == '\n')
        text.pop_back();
    return text;
}

inline bool run(const std::string& command) {
    return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
}

class TemporaryFolder {
  public:
    explicit TemporaryFolder(const std::string& parent = "/tmp") {
        path_ = parent + "/towline-test-XXXXXX";
        if (::mkdtemp(path_.data()) == nullptr) std::abort();
    }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    ~TemporaryFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    const std::string& path() const { return path_; }
    std::string operator/(const std::string& name) const { return path_ + "/" + name; }

  private:
    std::string path_;
};

inline std::string make_file(const std::string& path, std::uint64_t size_bytes) {
    const Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    EXPECT_TRUE(fd && ::ftruncate(fd.get(), static_cast<off_t>(size_bytes)) == 0) << path;
    return path;
}

class LoopDevice {
  public:
    explicit LoopDevice(const std::string& file, const std::string& options = "") {
        path_ = output_of("losetup --find --show " + options + " " + file);
    }
    LoopDevice(const LoopDevice&) = delete;
    LoopDevice& operator=(const LoopDevice&) = delete;
    ~LoopDevice() { detach(); }
    void detach() {
        if (!path_.empty()) run("losetup --detach " + path_);
        path_.clear();
    }
    // A kernel built without partition tables does not find them itself.
    bool show_partitions() const {
        return std::filesystem::exists(path_ + "p1") || run("partx --add " + path_);
    }
    bool attached() const { return !path_.empty(); }
    const std::string& path() const { return path_; }

  private:
    std::string path_;
};

class Mount {
  public:
    Mount(const std::string& device, std::string at, const std::string& options = "")
        : at_(std::move(at)) {
        std::filesystem::create_directories(at_);
        mounted_ = run("mount " + options + " " + device + " " + at_);
    }
    Mount(const Mount&) = delete;
    Mount& operator=(const Mount&) = delete;
    ~Mount() { release(); }
    void release() {
        if (mounted_) run("umount " + at_);
        mounted_ = false;
    }
    bool mounted() const { return mounted_; }
    std::string operator/(const std::string& name) const { return at_ + "/" + name; }

  private:
    std::string at_;
    bool mounted_ = false;
};

}  // namespace towline::testing

// Why a test cannot run here; GoogleTest prints and counts it.
#define NEEDS_LOOP_DEVICES()                                             \
    if (::geteuid() != 0) GTEST_SKIP() << "needs root for loop devices"; \
    if (::access("/dev/loop-control", W_OK) != 0)                        \
    GTEST_SKIP() << "needs loop devices, and /dev/loop-control is not there"
