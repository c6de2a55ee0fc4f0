// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "cbt/fuse/fuse_session.hpp"
#include "cbt/fuse/mount_guard.hpp"
#include "userspace/vault/point_folder.hpp"
#include "userspace/vault/vault_name.hpp"

namespace towline {

struct PointMountOptions {
    VaultName point;  // by an id, the beginning of one, or "latest"
    KeySource keys;   // that open its vault
    std::filesystem::path mountpoint;
    VolumeCache::Options cache;
    std::filesystem::path scratch;  // of an overlay; empty: none, and nobody writes
    unsigned thread_count = 8;
    bool allow_other = false;
    std::function<void(const std::string&)> log = [](const std::string&) {};
};

// A point that is mounted, from start to end. It is held meanwhile: nothing deletes it.
class PointMount {
  public:
    // Served when it returns. Before threads are made.
    static Result<std::unique_ptr<PointMount>> start(PointMountOptions options);
    PointMount(const PointMount&) = delete;
    PointMount& operator=(const PointMount&) = delete;

    const Point& point() const { return point_->point(); }
    PointFolder& folder() { return *folder_; }

    // Until it is unmounted and nobody uses it any more. `signals` is a signalfd: the first that
    // comes takes the mount away from who does not use it yet, the second from all.
    Status run(int signals);

  private:
    explicit PointMount(PointMountOptions options) : options_(std::move(options)) {}

    PointMountOptions options_;
    std::optional<MountGuard> guard_;  // the last to go
    std::optional<OpenPoint> point_;
    std::unique_ptr<PointFolder> folder_;
    Fd ended_;  // an eventfd
    std::unique_ptr<FuseSession> session_;
};

}  // namespace towline
