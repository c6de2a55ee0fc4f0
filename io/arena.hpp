// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <mutex>
#include <utility>
#include <vector>

#include "io/bytes.hpp"

namespace towline {

// Page-aligned memory for buffers, on huge pages where the kernel has them.
class Arena {
  public:
    Arena() = default;
    explicit Arena(std::size_t bytes);
    ~Arena() { release(); }
    Arena(Arena&& other) noexcept { *this = std::move(other); }
    Arena& operator=(Arena&& other) noexcept;

    MutableByteSpan bytes() const { return bytes_; }

  private:
    void release();

    void* mapping_ = nullptr;
    std::size_t mapping_bytes_ = 0;
    MutableByteSpan bytes_;
};

// Arenas that wait for their next use: fresh memory costs its clearing, which for a short run is
// half of the CPU that its target uses. What stands in them is the last run's, and is received over
// before it is read. Any thread may call.
class ArenaShelf {
  public:
    explicit ArenaShelf(std::size_t kept_max) : kept_max_(kept_max) {}

    Arena take(std::size_t bytes);
    // Beyond `kept_max` the memory goes back to the system.
    void put(Arena arena);

  private:
    const std::size_t kept_max_;
    std::mutex mutex_;
    std::vector<Arena> kept_;  // under mutex_; the last used at the end
};

}  // namespace towline
