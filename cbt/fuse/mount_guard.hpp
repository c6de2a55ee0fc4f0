// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <sys/types.h>

#include "io/fd.hpp"
#include "io/result.hpp"

namespace towline {

// A small process that outlives this one for as long as it takes to detach the mount that it left:
// however this one ends, nobody finds a dead mount.
class MountGuard {
  public:
    // Before threads are made, and before anything is open that must end with this process.
    static Result<MountGuard> start(const std::filesystem::path& mountpoint);
    MountGuard(MountGuard&&) = default;
    MountGuard& operator=(MountGuard&&) = delete;
    // Has the mount detached, if this process left one that nobody answers.
    ~MountGuard();

  private:
    MountGuard(Fd life, pid_t process) : life_(std::move(life)), process_(process) {}

    Fd life_;  // its other end tells the guard that this process is gone
    pid_t process_;
};

}  // namespace towline
