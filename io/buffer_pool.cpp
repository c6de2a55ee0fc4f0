// SPDX-License-Identifier: Apache-2.0
// A fixed arena cut into equal buffers; the free ones hang on an intrusive list, last used first,
// so that a lightly loaded run keeps touching the same, cached memory.

#include "io/buffer_pool.hpp"

#include "io/check.hpp"

namespace towline {

BufferPool::BufferPool(std::size_t count, std::size_t buffer_bytes, ArenaShelf* shelf)
    : shelf_(shelf), buffer_bytes_(buffer_bytes), buffers_(count) {
    CHECK(count > 0 && buffer_bytes > 0 && buffer_bytes % kAlignmentBytes == 0);
    arena_ = shelf_ != nullptr ? shelf_->take(count * buffer_bytes) : Arena(count * buffer_bytes);
    for (std::size_t i = count; i-- > 0;) {
        buffers_[i].bytes_ = arena_.bytes().subspan(i * buffer_bytes, buffer_bytes);
        free_.push_front(buffers_[i]);
    }
    free_count_ = count;
}

BufferPool::~BufferPool() {
    CHECK(free_count_ == buffers_.size());
    free_.clear();
    if (shelf_ != nullptr) shelf_->put(std::move(arena_));
}

Buffer* BufferPool::take() {
    if (free_.empty()) return nullptr;
    Buffer* buffer = &free_.front();
    free_.pop_front();
    --free_count_;
    return buffer;
}

void BufferPool::give(Buffer* buffer) {
    CHECK(buffer->data() >= arena().data() && buffer->data() < arena().data() + arena().size());
    free_.push_front(*buffer);
    ++free_count_;
}

}  // namespace towline
