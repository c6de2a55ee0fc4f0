// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>

#include "cbt/fuse/control_format.hpp"

namespace towline {

// A connection to the daemon of a tracked mount. Used by one thread.
class FuseControl {
  public:
    struct Answer {
        fuse_control::Reply reply;
        Fd fd;
    };

    explicit FuseControl(Fd socket) : socket_(std::move(socket)) {}
    // kDisconnected when nobody serves there.
    static Result<FuseControl> connect(const std::filesystem::path& socket);
    static Result<FuseControl> of_mount(const std::filesystem::path& mountpoint);

    // The daemon's own errors come as they are; kDisconnected when it is gone.
    Result<Answer> call(const fuse_control::Request& request);
    Fd take_socket() { return std::move(socket_); }

  private:
    Fd socket_;
};

}  // namespace towline
