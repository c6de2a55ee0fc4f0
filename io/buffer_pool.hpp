// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <boost/intrusive/slist.hpp>

#include "io/arena.hpp"
#include "io/bytes.hpp"

namespace towline {

// A piece of the pool, as large as it was asked for (rounded up) and aligned. Owned by whoever took
// it, given back by BufferPool::give.
class Buffer : public boost::intrusive::slist_base_hook<> {
  public:
    MutableByteSpan bytes() const { return bytes_; }
    std::byte* data() const { return bytes_.data(); }
    std::size_t capacity_bytes() const { return bytes_.size(); }

  private:
    friend class BufferPool;
    MutableByteSpan bytes_;
    std::size_t group_ = 0;
    std::uint64_t granules_ = 0;
};

// All the memory that data passes through, allocated once: when it is empty, reading (or receiving)
// waits, and that is the bound on blocks in flight. Small pieces lie close together, from the front
// on, so that a run of small pieces touches little of it: the memory that is used stays in the
// cache, and what is never used need not be cleared or pinned. Owned by one loop thread.
class BufferPool {
  public:
    static constexpr std::size_t kAlignmentBytes = 4096;

    // Room for `count` buffers of `buffer_bytes`; never more than `count` are out, however small.
    // The memory comes from the shelf, and goes back there, where there is one.
    BufferPool(std::size_t count, std::size_t buffer_bytes, ArenaShelf* shelf = nullptr);
    ~BufferPool();
    BufferPool(const BufferPool&) = delete;
    BufferPool& operator=(const BufferPool&) = delete;

    // Null when there is no room. At most buffer_bytes().
    Buffer* take(std::size_t bytes);
    Buffer* take() { return take(buffer_bytes_); }
    void give(Buffer* buffer);

    std::size_t count() const { return buffers_.size(); }
    std::size_t out_count() const { return out_count_; }
    std::size_t buffer_bytes() const { return buffer_bytes_; }
    // The whole memory, one range, for registration with a ring.
    MutableByteSpan arena() const { return arena_.bytes(); }

  private:
    ArenaShelf* shelf_;
    Arena arena_;
    std::size_t buffer_bytes_;
    std::size_t granule_bytes_;
    std::vector<std::uint64_t> groups_;  // a bit a granule, set where it is free
    std::vector<Buffer> buffers_;
    boost::intrusive::slist<Buffer> idle_;  // those that stand for no memory at the moment
    std::size_t out_count_ = 0;
};

}  // namespace towline
