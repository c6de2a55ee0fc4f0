// SPDX-License-Identifier: Apache-2.0
// The life of a write: gate, mark, log, copy, make. What is decided is decided under one mutex,
// which is never held over I/O; a write takes it twice. One condition stands for everything that a
// thread may wait for, since waiting is rare: a closed gate, a log being written, a chunk being
// copied, a misaligned neighbour.

#include "cbt/tracked_image.hpp"

#include <algorithm>

#include "cbt/change_map_format.hpp"
#include "io/align.hpp"

namespace towline {

namespace {

// The page cache works in these, and misaligned pieces of an image go through it.
constexpr std::uint64_t kPageBytes = 4096;

bool share_a_unit(Extent one, Extent other, std::uint64_t unit) {
    return align_down(one.offset_bytes, unit) < align_up(other.end_bytes(), unit) &&
           align_down(other.offset_bytes, unit) < align_up(one.end_bytes(), unit);
}

}  // namespace

TrackedImage::TrackedImage(ImageBackend& backend, IntentLog& log, TrackingRecord record,
                           Epochs epochs)
    : backend_(backend),
      log_(log),
      size_bytes_(backend.size_bytes()),
      unit_bytes_(std::max<std::uint64_t>(backend.alignment_bytes(), kPageBytes)),
      record_(std::move(record)),
      epochs_(std::move(epochs)),
      regions_(size_bytes_, record_.hot.block_bytes()),
      sequence_reserved_(record_.sequence) {}

// --- waiting ------------------------------------------------------------------------------------

void TrackedImage::wait(Lock& lock) {
    ++waiters_;
    changed_.wait(lock);
    --waiters_;
}

void TrackedImage::wait_until(Lock& lock, Instant end) {
    ++waiters_;
    changed_.wait_until(lock, end);
    --waiters_;
}

void TrackedImage::wake() {
    if (waiters_ > 0) changed_.notify_all();
}

// A hold ends by itself, so that no client that stopped or died keeps writes waiting.
bool TrackedImage::gate_closed() {
    if (held_ && monotonic_now() >= hold_end_) held_ = false;
    return held_ || resizing_;
}

bool TrackedImage::conflicts(const Write& write) const {
    if (!write.alone && alone_in_flight_ == 0) return false;
    return std::ranges::any_of(in_flight_, [&](const Write& other) {
        return (write.alone || other.alone) &&
               share_a_unit(write.extent, other.extent, unit_bytes_);
    });
}

void TrackedImage::pass_gate(Lock& lock, const Write& write) {
    while (gate_closed() || conflicts(write)) {
        if (held_)
            wait_until(lock, hold_end_);
        else
            wait(lock);
    }
}

// --- writes -------------------------------------------------------------------------------------

Status TrackedImage::begin(Write& write, bool grows) {
    Lock lock(mutex_);
    write.alone = write.extent.offset_bytes % unit_bytes_ != 0 ||
                  write.extent.length_bytes % unit_bytes_ != 0;
    for (;;) {
        pass_gate(lock, write);
        if (write.extent.end_bytes() <= size_bytes_) break;
        if (!grows) {
            const std::uint64_t size = size_bytes_;
            const std::uint64_t start = std::min(write.extent.offset_bytes, size);
            write.extent = {start, size - start};
            break;
        }
        TRY_STATUS(resize_alone(lock, write.extent.end_bytes(), Resizing::kGrowOnly));
    }
    in_flight_.push_back(write);
    alone_in_flight_ += write.alone ? 1 : 0;
    ++writes_seen_;
    // Before the log and the copy, which take their time: a freeze meanwhile sees it in flight.
    epochs_.mark(write.extent);
    make_hot(lock, write.extent);
    copy_chunks(lock, write.extent);
    return {};
}

void TrackedImage::end(Write& write) {
    const Lock lock(mutex_);
    in_flight_.erase(Writes::s_iterator_to(write));
    alone_in_flight_ -= write.alone ? 1 : 0;
    wake();
}

Status TrackedImage::write(std::uint64_t offset_bytes, ByteSpan from) {
    if (from.empty()) return {};
    Write write({offset_bytes, from.size()});
    TRY_STATUS(begin(write, true));
    const Status made = backend_.write(offset_bytes, from);
    end(write);
    return made;
}

Status TrackedImage::zero(Extent range, Zeroing how, bool keep_size) {
    if (range.length_bytes == 0) return {};
    Write write(range);
    TRY_STATUS(begin(write, !keep_size));
    const Status made = write.extent.length_bytes == 0 ? Status() : backend_.zero(range, how);
    end(write);
    return made;
}

Status TrackedImage::allocate(Extent range, bool keep_size) {
    if (!keep_size) {
        Lock lock(mutex_);
        TRY_STATUS(resize_alone(lock, range.end_bytes(), Resizing::kGrowOnly));
    }
    return backend_.allocate(range);
}

Result<ByteSpan> TrackedImage::read(Extent range, MutableByteSpan scratch) {
    return backend_.read(range, scratch);
}

// --- size ---------------------------------------------------------------------------------------

Status TrackedImage::resize(std::uint64_t size_bytes) {
    Lock lock(mutex_);
    return resize_alone(lock, size_bytes, Resizing::kAny);
}

// The gate is closed and nothing in flight while the size changes. A crash in the middle leaves the
// one size or the other; the log names both, and what lies between them is hot.
Status TrackedImage::resize_alone(Lock& lock, std::uint64_t size_bytes, Resizing how) {
    while (gate_closed()) {
        if (held_)
            wait_until(lock, hold_end_);
        else
            wait(lock);
    }
    const std::uint64_t before = size_bytes_;
    if (size_bytes == before || (how == Resizing::kGrowOnly && size_bytes < before)) return {};
    if (!change_map_format::geometry_allowed(size_bytes, record_.block_bytes))
        return fail_errno(EFBIG, "an image of " + std::to_string(size_bytes) +
                                     " bytes is more than can be tracked");
    resizing_ = true;
    while (!in_flight_.empty() || logging_)
        wait(lock);
    const Extent between{std::min(before, size_bytes),
                         std::max(before, size_bytes) - std::min(before, size_bytes)};
    record_.resize_bytes = size_bytes;
    regions_.resize(between.end_bytes());
    // With the last byte that stays: its block ends elsewhere from now on.
    const std::uint64_t hot_begin = between.offset_bytes - (between.offset_bytes > 0 ? 1 : 0);
    make_hot(lock, {hot_begin, between.end_bytes() - hot_begin});
    if (size_bytes < before) copy_chunks(lock, between);

    lock.unlock();
    const Status resized = backend_.resize(size_bytes);
    lock.lock();
    if (resized) {
        epochs_.resize(size_bytes);
        size_bytes_ = size_bytes;
    }
    while (logging_)
        wait(lock);
    record_.volume_bytes = record_.resize_bytes = size_bytes_;
    regions_.resize(size_bytes_);
    // A log that cannot be written is void by then, and says so in the status.
    (void)write_log(lock);
    resizing_ = false;
    wake();
    return resized;
}

}  // namespace towline
