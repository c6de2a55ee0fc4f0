// SPDX-License-Identifier: Apache-2.0
// A fixed arena cut into equal buffers; the free ones hang on an intrusive list, last used first,
// so that a lightly loaded run keeps touching the same, cached memory.

#include "io/buffer_pool.hpp"

#include <new>
#include <sys/mman.h>

#include "io/check.hpp"

namespace towline {

BufferPool::BufferPool(std::size_t count, std::size_t buffer_bytes)
    : buffer_bytes_(buffer_bytes), buffers_(count) {
    CHECK(count > 0 && buffer_bytes > 0 && buffer_bytes % kAlignmentBytes == 0);
    const std::size_t arena_bytes = count * buffer_bytes;
    void* memory =
        ::mmap(nullptr, arena_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    arena_ = {static_cast<std::byte*>(memory), arena_bytes};
    for (std::size_t i = count; i-- > 0;) {
        buffers_[i].bytes_ = arena_.subspan(i * buffer_bytes, buffer_bytes);
        free_.push_front(buffers_[i]);
    }
    free_count_ = count;
}

BufferPool::~BufferPool() {
    CHECK(free_count_ == buffers_.size());
    free_.clear();
    ::munmap(arena_.data(), arena_.size());
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
