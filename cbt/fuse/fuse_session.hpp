// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "io/bytes.hpp"
#include "io/fd.hpp"
#include "io/result.hpp"

#define FUSE_USE_VERSION 314
#include <fuse3/fuse_lowlevel.h>

namespace towline {

constexpr std::size_t kFusePageBytes = 4096;
// What one request carries at most.
constexpr std::size_t kFuseDataBytesMax = 1 << 20;

// A FUSE connection that threads of this process answer. What the requests do is its owner's.
class FuseSession {
  public:
    // `init`: the INIT request of a connection that was served before, by another; or nothing.
    static Result<std::unique_ptr<FuseSession>> create(Fd device,
                                                       const fuse_lowlevel_ops& operations,
                                                       void* owner, std::vector<std::byte> init);
    FuseSession(const FuseSession&) = delete;
    FuseSession& operator=(const FuseSession&) = delete;
    ~FuseSession();

    // Begins to answer. `ended` is called once, when the connection is gone (unmounted, aborted).
    Status start(unsigned thread_count, std::function<void()> ended);
    // Answers what was read, reads nothing more; returns when that is so. Can be started again.
    void stop();

    const Fd& device() const { return device_; }
    // Nothing before the first request was answered.
    std::vector<std::byte> init_request() const;
    // Replies that the kernel is not waiting for are dropped.
    bool replaying() const { return replaying_; }

    // --- of the operations
    template <typename Owner>
    static Owner& owner_of(fuse_req_t request) {
        return *static_cast<Owner*>(static_cast<FuseSession*>(fuse_req_userdata(request))->owner_);
    }
    // Memory of the calling thread, page-aligned, two pages longer than kFuseDataBytesMax: the
    // bytes of a write stand in it, those of a read are put there.
    static MutableByteSpan scratch();

  private:
    FuseSession() = default;
    void work();

    Fd device_;
    fuse_session* session_ = nullptr;
    void* owner_ = nullptr;
    std::vector<std::thread> workers_;
    std::atomic<bool> stopping_{false};
    std::atomic<unsigned> working_{0};
    std::function<void()> ended_;
    std::atomic<bool> gone_{false};
    bool replaying_ = false;
    mutable std::mutex mutex_;
    std::vector<std::byte> init_;  // under mutex_
};

}  // namespace towline
