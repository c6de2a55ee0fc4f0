// SPDX-License-Identifier: Apache-2.0
// Reads ahead in block order, finishes out of order, delivers in order: a slot per read or run of
// zeros stands in `order_`, and whatever is complete at its front is hashed and handed on. One loop
// thread.

#include "cbt/range_hasher.hpp"

#include <algorithm>

#include "io/align.hpp"
#include "io/check.hpp"

namespace towline {

struct RangeHasher::Slot {
    BlockRun run;
    Extent extent;
    Buffer* buffer = nullptr;  // null: a run of zeros
    WholeRead reading;
    bool ready = false;
    Completion completion;
};

RangeHasher::RangeHasher(IoEngine& engine, BufferPool& pool, VolumeView volume,
                         const BlockHasher& hasher, const ChangeMap& wanted,
                         const std::vector<Extent>& data, Sink sink, Done done)
    : engine_(engine),
      pool_(pool),
      volume_(std::move(volume)),
      hasher_(hasher),
      wanted_(wanted),
      data_(data),
      sink_(std::move(sink)),
      done_(std::move(done)) {}

RangeHasher::~RangeHasher() {
    CHECK(idle());
    for (const auto& slot : slots_) {
        if (slot->buffer != nullptr) pool_.give(slot->buffer);
    }
}

void RangeHasher::hold(bool held) {
    held_ = held;
    if (!held) pump();
}

void RangeHasher::stop() {
    held_ = false;
    exhausted_ = true;
    finish(fail(Code::kCancelled, "hashing was stopped"));
}

void RangeHasher::pump() {
    if (pumping_) return;
    pumping_ = true;
    deliver_ready();
    while (!held_ && !exhausted_ && order_.size() < 2 * kReadsMax && reading_ < kReadsMax &&
           start_next()) {
        deliver_ready();
    }
    pumping_ = false;
    if (exhausted_ && order_.empty() && reading_ == 0) finish({});
}

// The part of `run` that is all data or all hole, from its front.
BlockRun RangeHasher::clip_to_data(BlockRun run, bool& zeros) {
    const std::uint64_t block = wanted_.block_bytes();
    const std::uint64_t begin = run.first * block;
    while (next_data_ < data_.size() && data_[next_data_].end_bytes() <= begin)
        ++next_data_;
    if (next_data_ == data_.size()) {
        zeros = true;
        return run;
    }
    const std::uint64_t data_first = data_[next_data_].offset_bytes / block;
    zeros = run.first < data_first;
    const std::uint64_t end =
        zeros ? data_first : align_up(data_[next_data_].end_bytes(), block) / block;
    run.count = std::min(run.count, end - run.first);
    return run;
}

bool RangeHasher::start_next() {
    const std::uint64_t per_read =
        std::max<std::uint64_t>(1, pool_.buffer_bytes() / wanted_.block_bytes());
    auto run = wanted_.next_run(next_block_, kZeroRunBlocks);
    if (!run) {
        exhausted_ = true;
        return false;
    }
    bool zeros = false;
    *run = clip_to_data(*run, zeros);
    Buffer* buffer = nullptr;
    if (!zeros) {
        run->count = std::min(run->count, per_read);
        buffer = pool_.take();
        if (buffer == nullptr) return false;
    }
    if (free_.empty()) {
        slots_.push_back(std::make_unique<Slot>());
        Slot* made = slots_.back().get();
        made->completion.on_done([this, made](std::int64_t result) { on_read(*made, result); });
        free_.push_back(made);
    }
    Slot* slot = free_.back();
    free_.pop_back();
    slot->run = *run;
    slot->extent = wanted_.extent_of(*run);
    slot->buffer = buffer;
    slot->ready = zeros;
    next_block_ = run->end();
    order_.push_back(slot);
    if (!zeros) start_read(*slot);
    return true;
}

void RangeHasher::start_read(Slot& slot) {
    ++reading_;
    slot.reading.start(engine_, volume_, slot.buffer->bytes(), slot.extent.offset_bytes,
                       slot.extent.length_bytes, slot.completion);
}

void RangeHasher::on_read(Slot& slot, std::int64_t result) {
    --reading_;
    if (finished_) return;
    const WholeRead::Step step = slot.reading.take(result);
    if (result > 0) read_bytes_ += static_cast<std::uint64_t>(result);
    if (step == WholeRead::Step::kAgain) {
        ++reading_;
        return;
    }
    if (step == WholeRead::Step::kFailed) {
        exhausted_ = true;
        return finish(fail_errno(
            slot.reading.system_errno(),
            "cannot read the volume at byte " + std::to_string(slot.reading.offset_bytes())));
    }
    slot.ready = true;
    pump();
}

void RangeHasher::deliver_ready() {
    while (!finished_ && !held_ && !order_.empty() && order_.front()->ready) {
        Slot* slot = order_.front();
        order_.pop_front();
        if (slot->buffer != nullptr) hash(*slot);
        sink_({.run = slot->run,
               .hashes = slot->buffer == nullptr ? std::span<const Hash128>{} : hashes_});
        if (slot->buffer != nullptr) pool_.give(std::exchange(slot->buffer, nullptr));
        free_.push_back(slot);
    }
}

void RangeHasher::hash(Slot& slot) {
    hashes_.clear();
    ByteSpan rest = slot.buffer->bytes().first(slot.extent.length_bytes);
    while (!rest.empty()) {
        const std::size_t length = std::min<std::size_t>(rest.size(), wanted_.block_bytes());
        hashes_.push_back(hasher_.of(rest.first(length)));
        rest = rest.subspan(length);
    }
}

void RangeHasher::finish(Status status) {
    if (finished_) return;
    finished_ = true;
    done_(std::move(status));
}

}  // namespace towline
