// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "io/fd.hpp"
#include "io/result.hpp"

namespace towline {

// An existing, empty folder on which nothing is mounted; kRefused names the remedy.
Status check_mountpoint(const std::filesystem::path& mountpoint);

struct FuseMountOptions {
    bool allow_other = false;
    bool read_only = false;
};

// Mounts a new FUSE connection there: its device, to be read from.
Result<Fd> mount_fuse(const std::filesystem::path& mountpoint, const FuseMountOptions& wanted);

// kBusy while somebody uses the mount.
Status unmount_fuse(const std::filesystem::path& mountpoint);
// Nobody finds the mount any more; who uses it goes on, and the connection ends with the last.
Status detach_fuse(const std::filesystem::path& mountpoint);

// Must be called before threads are made: no page of this process is swapped out, and the memory
// that it asks for is not had by waiting for writes, which may be its own to make. Both are tried;
// what could not be had is told, and is no reason not to serve.
Status avoid_reclaim();

}  // namespace towline
