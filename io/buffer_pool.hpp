// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include <boost/intrusive/slist.hpp>

#include "io/arena.hpp"
#include "io/bytes.hpp"

namespace towline {

// One aligned piece of the pool. Owned by whoever took it, given back by BufferPool::give.
class Buffer : public boost::intrusive::slist_base_hook<> {
  public:
    MutableByteSpan bytes() const { return bytes_; }
    std::byte* data() const { return bytes_.data(); }
    std::size_t capacity_bytes() const { return bytes_.size(); }

  private:
    friend class BufferPool;
    MutableByteSpan bytes_;
};

// All the memory that data passes through, allocated once: when it is empty, reading (or receiving)
// waits, and that is the bound on blocks in flight. Owned by one loop thread.
class BufferPool {
  public:
    static constexpr std::size_t kAlignmentBytes = 4096;

    // The memory comes from the shelf, and goes back there, where there is one.
    BufferPool(std::size_t count, std::size_t buffer_bytes, ArenaShelf* shelf = nullptr);
    ~BufferPool();
    BufferPool(const BufferPool&) = delete;
    BufferPool& operator=(const BufferPool&) = delete;

    // Null when all are out.
    Buffer* take();
    void give(Buffer* buffer);

    std::size_t count() const { return buffers_.size(); }
    std::size_t free_count() const { return free_count_; }
    std::size_t buffer_bytes() const { return buffer_bytes_; }
    // The whole memory, one range, for registration with a ring.
    MutableByteSpan arena() const { return arena_.bytes(); }

  private:
    ArenaShelf* shelf_;
    Arena arena_;
    std::size_t buffer_bytes_;
    std::vector<Buffer> buffers_;
    boost::intrusive::slist<Buffer> free_;
    std::size_t free_count_ = 0;
};

}  // namespace towline
