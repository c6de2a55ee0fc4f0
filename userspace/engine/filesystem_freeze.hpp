// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

#include "io/clock.hpp"
#include "io/fd.hpp"
#include "io/result.hpp"

namespace towline {

// Where the volume's filesystems are mounted, partitions' included, as this process sees it; one
// place for each filesystem.
std::vector<std::string> mounts_on_device(dev_t number);

// Filesystems that are frozen (FIFREEZE), and a process apart that thaws them after `limit`, or at
// once when this process dies, whatever happens to it. While it stands, its owner must write to no
// file.
class FilesystemFreeze {
  public:
    static Result<FilesystemFreeze> freeze(const std::vector<std::string>& mounts, Duration limit);
    FilesystemFreeze(FilesystemFreeze&& other) noexcept
        : mounts_(std::move(other.mounts_)),
          watchdog_(std::move(other.watchdog_)),
          watchdog_pid_(std::exchange(other.watchdog_pid_, -1)),
          frozen_at_(other.frozen_at_) {}
    FilesystemFreeze& operator=(FilesystemFreeze&&) = delete;
    ~FilesystemFreeze();

    // How long they were frozen. An Error: somebody thawed before, so that it was no freeze.
    Result<Duration> thaw();

  private:
    FilesystemFreeze() = default;

    std::vector<Fd> mounts_;
    Fd watchdog_;  // closed, or our end: it thaws
    pid_t watchdog_pid_ = -1;
    Instant frozen_at_{};
};

}  // namespace towline
