// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cbt/fuse/fuse_session.hpp"
#include "cbt/tracked_image.hpp"
#include "io/fd.hpp"

namespace towline {

// What the mount shows of the image beside its bytes.
struct ServedImage {
    TrackedImage* image = nullptr;
    int image_fd = -1;         // for what a file system tells of a file
    std::string control_path;  // where `control` points to
};

// A folder with one tracked file in it, as a FUSE connection: `volume`, `snapshot-N` for a snapshot
// of epoch N, and `control`, a link to the socket. Nothing is remembered for the kernel but what is
// open, so that the connection can be served by another process from one request to the next.
class FuseServer {
  public:
    // `init`: the INIT request of a connection that was served before, by another.
    static Result<std::unique_ptr<FuseServer>> create(Fd device, ServedImage served,
                                                      std::vector<std::byte> init);
    FuseServer(const FuseServer&) = delete;
    FuseServer& operator=(const FuseServer&) = delete;
    ~FuseServer() = default;

    // As FuseSession has them.
    Status start(unsigned thread_count, std::function<void()> ended) {
        return session_->start(thread_count, std::move(ended));
    }
    void stop() { session_->stop(); }
    const Fd& device() const { return session_->device(); }
    std::vector<std::byte> init_request() const { return session_->init_request(); }

    // While it is stopped: others are served from now on.
    void serve(ServedImage served) { served_ = std::move(served); }

    // --- of the operations
    const ServedImage& served() const { return served_; }
    bool open_snapshot(std::uint64_t sequence);
    void close_snapshot(std::uint64_t sequence);
    // kBusy while it is open.
    Status remove_snapshot(std::uint64_t sequence);

  private:
    FuseServer() = default;

    ServedImage served_;
    mutable std::mutex mutex_;
    std::map<std::uint64_t, int> opened_;  // under mutex_: snapshots by epoch
    // The last: its threads use what is above.
    std::unique_ptr<FuseSession> session_;
};

}  // namespace towline
