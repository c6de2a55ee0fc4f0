// SPDX-License-Identifier: Apache-2.0
// A read of the point is a piece of work, and completes on the loop as any other read does: short
// at the volume's end, -EIO where a block cannot be had. As many are under way as the caller has
// begun; what is theirs is used again.

#include "userspace/vault/point_engine.hpp"

#include <algorithm>
#include <cerrno>

namespace towline {

// Whoever reads here comes in order by himself.
PointEngine::PointEngine(IoEngine& engine, WorkQueue& workers, std::shared_ptr<VolumeReader> volume)
    : ForwardingEngine(engine),
      workers_(workers),
      volume_(std::move(volume), {.ahead_threads = 0}) {}

PointEngine::~PointEngine() {
    CHECK(free_.size() == reads_.size());
}

PointEngine::Read& PointEngine::take() {
    if (free_.empty()) {
        reads_.push_back(std::make_unique<Read>());
        Read& made = *reads_.back();
        made.work.run = [this, &made](unsigned) { made.status = carry_out(made); };
        made.work.done.on_done([this, &made](std::int64_t) { finish(made); });
        return made;
    }
    Read& read = *free_.back();
    free_.pop_back();
    return read;
}

// Whole blocks go to where they are wanted; of a block that is larger than a read the rest is kept.
Status PointEngine::carry_out(const Read& read) {
    VolumeReader& volume = volume_.volume();
    const std::uint64_t end = read.offset_bytes + read.into.size();
    const auto between_blocks = [&](std::uint64_t at) { return at % volume.block_bytes() == 0; };
    if (between_blocks(read.offset_bytes) && (between_blocks(end) || end == volume.size_bytes()))
        return volume.read(read.offset_bytes, read.into);
    return volume_.read(read.offset_bytes, read.into);
}

void PointEngine::read(Handle file, MutableByteSpan into, std::uint64_t offset_bytes,
                       Completion& done) {
    if (file != kPoint) return ForwardingEngine::read(file, into, offset_bytes, done);
    done.begin();
    Read& read = take();
    const std::uint64_t size = volume_.volume().size_bytes();
    read.offset_bytes = std::min(offset_bytes, size);
    read.into = into.first(std::min<std::uint64_t>(into.size(), size - read.offset_bytes));
    read.done = &done;
    workers_.submit(read.work);
}

void PointEngine::finish(Read& read) {
    Completion& done = *read.done;
    auto result = static_cast<std::int64_t>(read.into.size());
    if (!read.status) {
        const Error& error = read.status.error();
        if (!failure_) failure_ = error;
        result = -EIO;
    }
    free_.push_back(&read);
    done.finish(result);
    done.deliver();
}

}  // namespace towline
