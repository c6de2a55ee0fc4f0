// SPDX-License-Identifier: Apache-2.0
// A fixed arena cut into equal buffers; the free ones hang on an intrusive list, last used first,
// so that a lightly loaded run keeps touching the same, cached memory.

#include "io/buffer_pool.hpp"

#include <new>
#include <sys/mman.h>

#include "io/align.hpp"
#include "io/check.hpp"

namespace towline {

namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

}  // namespace

BufferPool::BufferPool(std::size_t count, std::size_t buffer_bytes)
    : mapping_(nullptr), mapping_bytes_(0), buffer_bytes_(buffer_bytes), buffers_(count) {
    CHECK(count > 0 && buffer_bytes > 0 && buffer_bytes % kAlignmentBytes == 0);
    const std::size_t arena_bytes = count * buffer_bytes;
    mapping_bytes_ = arena_bytes + kHugePageBytes;
    mapping_ =
        ::mmap(nullptr, mapping_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping_ == MAP_FAILED) throw std::bad_alloc();
    const auto address = reinterpret_cast<std::uintptr_t>(mapping_);
    arena_ = {static_cast<std::byte*>(mapping_) + (align_up(address, kHugePageBytes) - address),
              arena_bytes};
    // Registering pins every page: with huge ones that is a handful instead of thousands. A wish
    // only.
    static_cast<void>(::madvise(arena_.data(), arena_bytes, MADV_HUGEPAGE));
    for (std::size_t i = count; i-- > 0;) {
        buffers_[i].bytes_ = arena_.subspan(i * buffer_bytes, buffer_bytes);
        free_.push_front(buffers_[i]);
    }
    free_count_ = count;
}

BufferPool::~BufferPool() {
    CHECK(free_count_ == buffers_.size());
    free_.clear();
    ::munmap(mapping_, mapping_bytes_);
}

Buffer* BufferPool::take() {
    if (free_.empty()) return nullptr;
    Buffer* buffer = &free_.front();
    free_.pop_front();
    --free_count_;
    return buffer;
}

void BufferPool::give(Buffer* buffer) {
    CHECK(buffer->data() >= arena_.data() && buffer->data() < arena_.data() + arena_.size());
    free_.push_front(*buffer);
    ++free_count_;
}

}  // namespace towline
