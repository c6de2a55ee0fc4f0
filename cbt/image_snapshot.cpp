// SPDX-License-Identifier: Apache-2.0
// The parts of a snapshot. How they work together with the writes is in tracked_image_copy.cpp.

#include "cbt/image_snapshot.hpp"

namespace towline {

namespace {

// Chunks that are copied at once.
constexpr std::size_t kCopiesMax = 8;

}  // namespace

ScratchPool::ScratchPool(std::size_t count, std::size_t bytes) : memory_(count * bytes) {
    free_.reserve(count);
    for (std::size_t i = 0; i < count; ++i)
        free_.push_back(memory_.bytes().subspan(i * bytes, bytes));
}

MutableByteSpan ScratchPool::take() {
    std::unique_lock lock(mutex_);
    returned_.wait(lock, [this] { return !free_.empty(); });
    const MutableByteSpan taken = free_.back();
    free_.pop_back();
    return taken;
}

void ScratchPool::put(MutableByteSpan bytes) {
    const std::lock_guard lock(mutex_);
    free_.push_back(bytes);
    returned_.notify_one();
}

ImageSnapshot::ImageSnapshot(std::uint64_t volume_bytes, std::uint32_t chunk_bytes,
                             std::unique_ptr<SnapshotStore> difference)
    : states(volume_bytes, chunk_bytes, difference->slot_count()),
      store(std::move(difference)),
      scratch(kCopiesMax, chunk_bytes) {}

void ImageSnapshot::fail(Error error) {
    if (failed) return;
    failed = true;
    why = std::move(error);
}

}  // namespace towline
