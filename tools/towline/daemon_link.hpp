// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <sys/types.h>
#include <utility>

#include "io/fd.hpp"
#include "io/result.hpp"

namespace towline {

// Where a daemon listens: a socket of this host, or of another one that ssh leads to.
struct DaemonPlace {
    std::string socket = "/run/towline/api.sock";
    std::string host;  // "ssh://USER@HOST:PORT"; empty: this one

    std::string text() const { return host.empty() ? socket : host + " " + socket; }
};

// A connection to it: a stream. Beyond this host it is ssh's input and output, with `towline
// dial-stdio` at the far end; ssh says itself on standard error why it fails.
class DaemonLink {
  public:
    static Result<DaemonLink> connect(const DaemonPlace& place);
    DaemonLink(DaemonLink&& other) noexcept
        : fd_(std::move(other.fd_)), ssh_(std::exchange(other.ssh_, -1)) {}
    DaemonLink& operator=(DaemonLink&&) = delete;
    // Ends ssh, and waits for it. The stream that was taken must be closed by then.
    ~DaemonLink();

    // For who reads and writes.
    Fd take() { return std::move(fd_); }

  private:
    DaemonLink(Fd fd, pid_t ssh) : fd_(std::move(fd)), ssh_(ssh) {}
    Fd fd_;
    pid_t ssh_ = -1;
};

}  // namespace towline
