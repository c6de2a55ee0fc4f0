// SPDX-License-Identifier: Apache-2.0
// A stretch is written in up to three steps: its body of whole sectors, and, where it ends within
// a sector, the reading and writing of that one by way of tail_. A volume has one end, and a run
// brings it once: tail_ has one user.

#include "userspace/engine/volume_writer.hpp"

#include <cstring>

#include "io/align.hpp"
#include "io/check.hpp"

namespace towline {

struct VolumeWriter::Stretch {
    enum class Step { kBody, kTailRead, kTailWrite };

    Extent extent;
    const std::byte* memory = nullptr;
    std::uint64_t body_bytes = 0;  // whole sectors
    std::uint64_t done_bytes = 0;
    Step step = Step::kBody;
    Done done;
    Completion io;
};

namespace {

Error write_error(std::int64_t result, std::uint64_t offset_bytes) {
    const int error = result == 0 ? ENOSPC : static_cast<int>(-result);
    return system_error(error,
                        "cannot write to the target at byte " + std::to_string(offset_bytes));
}

}  // namespace

VolumeWriter::VolumeWriter(IoEngine& engine, const TargetVolume& volume)
    : engine_(engine), volume_(volume), tail_(tail_pool_.take()) {}

VolumeWriter::~VolumeWriter() {
    CHECK(idle());
    tail_pool_.give(tail_);
}

VolumeWriter::Stretch& VolumeWriter::take_stretch() {
    if (free_.empty()) {
        stretches_.push_back(std::make_unique<Stretch>());
        Stretch* made = stretches_.back().get();
        made->io.on_done([this, made](std::int64_t result) { on_io(*made, result); });
        free_.push_back(made);
    }
    Stretch& stretch = *free_.back();
    free_.pop_back();
    return stretch;
}

void VolumeWriter::write(Extent extent, const std::byte* memory, Done done) {
    CHECK(extent.length_bytes > 0);
    Stretch& stretch = take_stretch();
    stretch.extent = extent;
    stretch.memory = memory;
    stretch.body_bytes =
        align_down<std::uint64_t>(extent.length_bytes, volume_.view.alignment_bytes);
    stretch.done_bytes = 0;
    stretch.step = Stretch::Step::kBody;
    stretch.done = std::move(done);
    issue(stretch);
}

void VolumeWriter::finish(Stretch& stretch, Status status) {
    const Done done = std::move(stretch.done);
    free_.push_back(&stretch);
    done(std::move(status));
}

void VolumeWriter::issue(Stretch& stretch) {
    const std::uint64_t alignment = volume_.view.alignment_bytes;
    const Handle handle = volume_.view.handle;
    if (stretch.step == Stretch::Step::kBody && stretch.done_bytes == stretch.body_bytes) {
        if (stretch.body_bytes == stretch.extent.length_bytes) return finish(stretch, {});
        stretch.step = Stretch::Step::kTailRead;
        std::memset(tail_->data(), 0, alignment);
    }
    const std::uint64_t offset = stretch.extent.offset_bytes + stretch.done_bytes;
    const std::uint64_t rest_bytes = stretch.body_bytes - stretch.done_bytes;
    switch (stretch.step) {
        case Stretch::Step::kBody:
            if (stretch.memory == nullptr)
                return engine_.zero(handle, offset, rest_bytes, volume_.zero_mode, stretch.io);
            return engine_.write(handle, {stretch.memory + stretch.done_bytes, rest_bytes}, offset,
                                 stretch.io);
        case Stretch::Step::kTailRead:
            return engine_.read(handle, tail_->bytes().first(alignment), offset, stretch.io);
        case Stretch::Step::kTailWrite:
            return engine_.write(handle, tail_->bytes().first(alignment), offset, stretch.io);
    }
}

void VolumeWriter::on_io(Stretch& stretch, std::int64_t result) {
    using Step = Stretch::Step;
    if (stopped_) return finish(stretch, {});
    if (result == -EINTR || result == -EAGAIN) return issue(stretch);
    // An image file that ends before its last sector does reads short there: the rest are zeros.
    const bool nothing_there = result == 0 && stretch.step == Step::kTailRead && volume_.exact_size;
    const bool zeroed = result == 0 && stretch.memory == nullptr && stretch.step == Step::kBody;
    if (result < 0 || (result == 0 && !nothing_there && !zeroed)) {
        return finish(stretch, std::unexpected(write_error(result, stretch.extent.offset_bytes)));
    }
    const auto came_bytes = static_cast<std::uint64_t>(result);
    const std::uint64_t alignment = volume_.view.alignment_bytes;
    switch (stretch.step) {
        case Step::kBody:
            stretch.done_bytes = zeroed ? stretch.body_bytes : stretch.done_bytes + came_bytes;
            // A write cut off between sectors is taken up at the sector's begin.
            stretch.done_bytes = align_down(stretch.done_bytes, alignment);
            return issue(stretch);
        case Step::kTailRead:
            return on_tail_read(stretch, came_bytes);
        case Step::kTailWrite:
            if (came_bytes < alignment) return issue(stretch);
            return finish(stretch, {});
    }
}

void VolumeWriter::on_tail_read(Stretch& stretch, std::uint64_t read_bytes) {
    // On a device the rest of the sector belongs to others: all of it must have come.
    if (read_bytes < volume_.view.alignment_bytes && !volume_.exact_size) return issue(stretch);
    const std::uint64_t tail_bytes = stretch.extent.length_bytes - stretch.done_bytes;
    if (stretch.memory == nullptr) {
        std::memset(tail_->data(), 0, tail_bytes);
    } else {
        std::memcpy(tail_->data(), stretch.memory + stretch.done_bytes, tail_bytes);
    }
    stretch.step = Stretch::Step::kTailWrite;
    issue(stretch);
}

}  // namespace towline
