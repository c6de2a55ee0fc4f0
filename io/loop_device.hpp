// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>

#include "io/fd.hpp"
#include "io/result.hpp"

namespace towline {

// A loop device over a part of a file or device. It goes when the last one who has it open does.
class LoopDevice {
  public:
    // kUnsupported where none can be had: no root, no loop driver.
    static Result<LoopDevice> attach(int backing, std::uint64_t offset_bytes, std::uint64_t bytes);

    const std::filesystem::path& path() const { return path_; }
    Status flush() const;

  private:
    LoopDevice(Fd device, std::filesystem::path path)
        : device_(std::move(device)), path_(std::move(path)) {}

    Fd device_;
    std::filesystem::path path_;
};

}  // namespace towline
