// SPDX-License-Identifier: Apache-2.0
// The arena is cut into granules, 64 of them a group, a word of bits. A buffer is a run of granules
// within one group: the first that fits, from the front. A buffer of full size takes 16 granules at
// most, so that a few shifts of a word find a place for any.

#include "io/buffer_pool.hpp"

#include <algorithm>
#include <bit>

#include "io/align.hpp"
#include "io/check.hpp"

namespace towline {

namespace {

constexpr std::size_t kGroupGranules = 64;
constexpr std::size_t kGranulesMax = 16;  // of a buffer

constexpr std::uint64_t ones(std::size_t count) {
    return count == kGroupGranules ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
}

// Bit n is set where `count` free granules begin.
std::uint64_t places_for(std::uint64_t free, std::size_t count) {
    std::uint64_t places = free;
    for (std::size_t i = 1; i < count && places != 0; ++i)
        places &= free >> i;
    return places;
}

}  // namespace

BufferPool::BufferPool(std::size_t count, std::size_t buffer_bytes, ArenaShelf* shelf)
    : shelf_(shelf),
      buffer_bytes_(buffer_bytes),
      granule_bytes_(
          std::max(align_up(buffer_bytes / kGranulesMax, kAlignmentBytes), kAlignmentBytes)),
      buffers_(count) {
    CHECK(count > 0 && buffer_bytes > 0 && buffer_bytes % kAlignmentBytes == 0);
    // As many whole buffers a group as it holds; the last group has the rest.
    const std::size_t each = align_up(buffer_bytes, granule_bytes_) / granule_bytes_;
    const std::size_t per_group = kGroupGranules / each;
    groups_.assign(count / per_group, ones(kGroupGranules));
    std::size_t granules = groups_.size() * kGroupGranules;
    if (const std::size_t rest = count % per_group; rest > 0) {
        groups_.push_back(ones(rest * each));
        granules += rest * each;
    }
    const std::size_t bytes = granules * granule_bytes_;
    arena_ = shelf_ != nullptr ? shelf_->take(bytes) : Arena(bytes);
    for (Buffer& buffer : buffers_)
        idle_.push_front(buffer);
}

BufferPool::~BufferPool() {
    CHECK(out_count_ == 0);
    idle_.clear();
    if (shelf_ != nullptr) shelf_->put(std::move(arena_));
}

Buffer* BufferPool::take(std::size_t bytes) {
    CHECK(bytes <= buffer_bytes_);
    if (idle_.empty()) return nullptr;
    const std::size_t count =
        align_up(std::max<std::size_t>(bytes, 1), granule_bytes_) / granule_bytes_;
    for (std::size_t group = 0; group < groups_.size(); ++group) {
        const std::uint64_t places = places_for(groups_[group], count);
        if (places == 0) continue;
        const auto first = static_cast<std::size_t>(std::countr_zero(places));
        Buffer& buffer = idle_.front();
        idle_.pop_front();
        ++out_count_;
        buffer.group_ = group;
        buffer.granules_ = ones(count) << first;
        groups_[group] &= ~buffer.granules_;
        buffer.bytes_ = arena().subspan((group * kGroupGranules + first) * granule_bytes_,
                                        count * granule_bytes_);
        return &buffer;
    }
    return nullptr;
}

void BufferPool::give(Buffer* buffer) {
    CHECK(buffer >= buffers_.data() && buffer < buffers_.data() + buffers_.size());
    std::uint64_t& group = groups_[buffer->group_];
    CHECK(buffer->granules_ != 0 && (group & buffer->granules_) == 0);
    group |= std::exchange(buffer->granules_, 0);
    buffer->bytes_ = {};
    idle_.push_front(*buffer);
    --out_count_;
}

}  // namespace towline
