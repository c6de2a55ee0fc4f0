// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cbt/tracked_image.hpp"
#include "io/fd.hpp"

struct fuse_session;

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
    ~FuseServer();

    // Begins to answer. `ended` is called once, when the connection is gone (unmounted, aborted).
    Status start(unsigned thread_count, std::function<void()> ended);
    // Answers what was read, reads nothing more; returns when that is so. Can be started again.
    void stop();

    const Fd& device() const { return device_; }
    // Nothing before the first request was answered.
    std::vector<std::byte> init_request() const;

    // While it is stopped: others are served from now on.
    void serve(ServedImage served) { served_ = std::move(served); }

    // --- of the operations
    const ServedImage& served() const { return served_; }
    bool open_snapshot(std::uint64_t sequence);
    void close_snapshot(std::uint64_t sequence);
    // kBusy while it is open.
    Status remove_snapshot(std::uint64_t sequence);
    // Replies that the kernel is not waiting for any more.
    bool replaying() const { return replaying_; }

  private:
    FuseServer() = default;
    void work();

    Fd device_;
    fuse_session* session_ = nullptr;
    ServedImage served_;
    std::vector<std::thread> workers_;
    std::atomic<bool> stopping_{false};
    std::atomic<unsigned> working_{0};
    std::function<void()> ended_;
    std::atomic<bool> gone_{false};
    bool replaying_ = false;

    mutable std::mutex mutex_;
    std::vector<std::byte> init_;          // under mutex_
    std::map<std::uint64_t, int> opened_;  // under mutex_: snapshots by epoch
};

}  // namespace towline
