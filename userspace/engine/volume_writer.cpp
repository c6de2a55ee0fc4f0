// SPDX-License-Identifier: Apache-2.0
// A stretch is written in up to three steps: its body of whole sectors, and, where it ends within
// a sector, the reading and writing of that one by way of tail_. A volume has one end, and a run
// brings it once: tail_ has one user.

#include "userspace/engine/volume_writer.hpp"

#include <cstring>

#include "io/align.hpp"
#include "io/check.hpp"

namespace towline {

struct VolumeWriter::Write {
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

VolumeWriter::Write& VolumeWriter::take_write() {
    if (free_.empty()) {
        stretches_.push_back(std::make_unique<Write>());
        Write* made = stretches_.back().get();
        made->io.on_done([this, made](std::int64_t result) { on_io(*made, result); });
        free_.push_back(made);
    }
    Write& write = *free_.back();
    free_.pop_back();
    return write;
}

void VolumeWriter::write(const Stretch& stretch, Done done) {
    start(stretch.extent, stretch.plain, std::move(done));
}

void VolumeWriter::zero(Extent extent, Done done) {
    start(extent, nullptr, std::move(done));
}

// Null memory: zeros.
void VolumeWriter::start(Extent extent, const std::byte* memory, Done done) {
    CHECK(extent.length_bytes > 0);
    Write& write = take_write();
    write.extent = extent;
    write.memory = memory;
    write.body_bytes = align_down<std::uint64_t>(extent.length_bytes, volume_.view.alignment_bytes);
    write.done_bytes = 0;
    write.step = Write::Step::kBody;
    write.done = std::move(done);
    issue(write);
}

void VolumeWriter::flush(Done done) {
    flush_done_ = std::move(done);
    flush_.on_done([this](std::int64_t result) {
        const Done done_now = std::move(flush_done_);
        done_now(result < 0
                     ? Status(fail_errno(static_cast<int>(-result), "cannot flush the target"))
                     : Status{});
    });
    engine_.flush(volume_.view.handle, flush_);
}

std::unique_ptr<HashPass> VolumeWriter::hash(HashKind, BufferPool& pool, const BlockHasher& hasher,
                                             const ChangeMap& wanted,
                                             const std::vector<Extent>& data, HashPass::Sink sink,
                                             HashPass::Done done) {
    return std::make_unique<RangeHasher>(engine_, pool, volume_.view, hasher, wanted, data,
                                         std::move(sink), std::move(done));
}

void VolumeWriter::finish(Write& write, Status status) {
    const Done done = std::move(write.done);
    free_.push_back(&write);
    done(std::move(status));
}

void VolumeWriter::issue(Write& write) {
    const std::uint64_t alignment = volume_.view.alignment_bytes;
    const Handle handle = volume_.view.handle;
    if (write.step == Write::Step::kBody && write.done_bytes == write.body_bytes) {
        if (write.body_bytes == write.extent.length_bytes) return finish(write, {});
        write.step = Write::Step::kTailRead;
        std::memset(tail_->data(), 0, alignment);
    }
    const std::uint64_t offset = write.extent.offset_bytes + write.done_bytes;
    const std::uint64_t rest_bytes = write.body_bytes - write.done_bytes;
    switch (write.step) {
        case Write::Step::kBody:
            if (write.memory == nullptr)
                return engine_.zero(handle, offset, rest_bytes, volume_.zero_mode, write.io);
            return engine_.write(handle, {write.memory + write.done_bytes, rest_bytes}, offset,
                                 write.io);
        case Write::Step::kTailRead:
            return engine_.read(handle, tail_->bytes().first(alignment), offset, write.io);
        case Write::Step::kTailWrite:
            return engine_.write(handle, tail_->bytes().first(alignment), offset, write.io);
    }
}

void VolumeWriter::on_io(Write& write, std::int64_t result) {
    using Step = Write::Step;
    if (stopped_) return finish(write, {});
    if (result == -EINTR || result == -EAGAIN) return issue(write);
    // An image file that ends before its last sector does reads short there: the rest are zeros.
    const bool nothing_there = result == 0 && write.step == Step::kTailRead && volume_.exact_size;
    const bool zeroed = result == 0 && write.memory == nullptr && write.step == Step::kBody;
    if (result < 0 || (result == 0 && !nothing_there && !zeroed)) {
        return finish(write, std::unexpected(write_error(result, write.extent.offset_bytes)));
    }
    const auto came_bytes = static_cast<std::uint64_t>(result);
    const std::uint64_t alignment = volume_.view.alignment_bytes;
    switch (write.step) {
        case Step::kBody:
            write.done_bytes = zeroed ? write.body_bytes : write.done_bytes + came_bytes;
            // A write cut off between sectors is taken up at the sector's begin.
            write.done_bytes = align_down(write.done_bytes, alignment);
            return issue(write);
        case Step::kTailRead:
            return on_tail_read(write, came_bytes);
        case Step::kTailWrite:
            if (came_bytes < alignment) return issue(write);
            return finish(write, {});
    }
}

void VolumeWriter::on_tail_read(Write& write, std::uint64_t read_bytes) {
    // On a device the rest of the sector belongs to others: all of it must have come.
    if (read_bytes < volume_.view.alignment_bytes && !volume_.exact_size) return issue(write);
    const std::uint64_t tail_bytes = write.extent.length_bytes - write.done_bytes;
    if (write.memory == nullptr) {
        std::memset(tail_->data(), 0, tail_bytes);
    } else {
        std::memcpy(tail_->data(), write.memory + write.done_bytes, tail_bytes);
    }
    write.step = Write::Step::kTailWrite;
    issue(write);
}

}  // namespace towline
