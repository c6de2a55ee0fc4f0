// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "io/clock.hpp"
#include "io/fd.hpp"
#include "io/result.hpp"
#include "transport/address.hpp"

namespace towline {

// A connected stream socket, set up for frames: no Nagle, and a peer that vanished is noticed.
Result<Fd> connect_to(const Address& address, Duration timeout);

// A connected pair inside this process, for a run whose two sides live in it.
Result<std::pair<Fd, Fd>> connected_pair();

class Listener {
  public:
    // A port may be taken again at once after a restart; a socket file that nobody listens on is
    // replaced, one that is served is kBusy. Port 0 lets the system choose.
    static Result<Listener> open(const Address& address);
    ~Listener();
    Listener(Listener&&) noexcept = default;
    Listener& operator=(Listener&&) noexcept = default;

    int fd() const { return fd_.get(); }
    // With the port that the system chose.
    const Address& address() const { return address_; }
    // Blocks. kCancelled once the listener was shut down.
    Result<Fd> accept();

  private:
    Listener() = default;
    Fd fd_;
    Address address_;
};

}  // namespace towline
