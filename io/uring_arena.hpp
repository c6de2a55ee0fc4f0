// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <liburing.h>

#include "io/bytes.hpp"

namespace towline {

// The memory of a pool as buffers registered with a ring: piece by piece, each at its first use.
// Registering pins memory and has the kernel clear it, so that what a short run never comes to use
// must not be registered. Belongs to the ring's thread.
class UringArena {
  public:
    explicit UringArena(io_uring& ring) : ring_(ring) {}

    void cover(MutableByteSpan memory);
    bool covers_any() const { return !memory_.empty(); }
    // Under which index the bytes are registered; nothing: they are plain memory to the kernel.
    std::optional<unsigned> index_of(ByteSpan bytes);
    // Why not all is registered that should be; empty when it is.
    const std::string& note() const { return note_; }

  private:
    void give_up(int error);

    io_uring& ring_;
    MutableByteSpan memory_;
    std::vector<bool> registered_;  // by piece
    std::string note_;
};

}  // namespace towline
