// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <set>
#include <string>

#include "io/fd.hpp"
#include "io/result.hpp"

namespace towline {

// What a scrub that goes on found sound: a file of this host, a line an object, so that one that
// was cut off need not read it again. Lines that a crash took cost reading once more.
class ScrubProgress {
  public:
    // `resume`: what is there counts; else it begins anew.
    static Result<ScrubProgress> open(const std::filesystem::path& file, bool resume);

    const std::set<std::string>& sound_before() const { return before_; }
    void add(const std::string& object);
    // The whole vault was read: nothing to go on with.
    void finish();

  private:
    ScrubProgress(std::filesystem::path file, Fd fd) : file_(std::move(file)), fd_(std::move(fd)) {}

    std::filesystem::path file_;
    Fd fd_;
    std::set<std::string> before_;
};

}  // namespace towline
