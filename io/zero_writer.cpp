// SPDX-License-Identifier: Apache-2.0
// A small state machine a range: punch a hole (where space may be given back), else have the
// filesystem or the device zero the range, else write zeros. On a block device, ZERO_RANGE is the
// kernel's zero-out without unmapping, which writes zeros itself where the device cannot; a hole is
// never punched there. A failed step leaves the range as it was or partly zero, so the next way
// starts over.

#include "io/zero_writer.hpp"

#include <algorithm>
#include <array>
#include <linux/falloc.h>

#include "io/kernel_engine.hpp"

namespace towline {

namespace {

// Never written to: all of it is the kernel's one page of zeros.
alignas(4096) std::array<std::byte, 1 << 20> zeros;

}  // namespace

void ZeroWriter::start(Handle file, ZeroWays& ways, std::uint64_t offset_bytes,
                       std::uint64_t length_bytes, ZeroMode mode, Completion& done) {
    if (free_.empty()) {
        Operation& added = operations_.emplace_back();
        added.step.on_done([this, &added](std::int64_t result) { step_done(added, result); });
        free_.push_front(added);
    }
    Operation& operation = free_.front();
    free_.pop_front();
    operation.done = &done;
    operation.file = file;
    operation.ways = &ways;
    operation.mode = mode;
    operation.offset_bytes = offset_bytes;
    operation.rest_bytes = length_bytes;
    next_step(operation);
}

void ZeroWriter::next_step(Operation& operation) {
    const auto allocate = [&](Way way, int mode) {
        operation.way = way;
        engine_.allocate(operation.file, mode | FALLOC_FL_KEEP_SIZE, operation.offset_bytes,
                         operation.rest_bytes, operation.step);
    };
    if (operation.mode == ZeroMode::kFree && operation.ways->punch)
        return allocate(Way::kPunch, FALLOC_FL_PUNCH_HOLE);
    if (operation.ways->zero_range) return allocate(Way::kZeroRange, FALLOC_FL_ZERO_RANGE);
    operation.way = Way::kWrite;
    const auto length = std::min<std::uint64_t>(operation.rest_bytes, zeros.size());
    engine_.write(operation.file, ByteSpan(zeros).first(length), operation.offset_bytes,
                  operation.step);
}

void ZeroWriter::step_done(Operation& operation, std::int64_t result) {
    if (result == -EINTR) return next_step(operation);
    if (operation.way != Way::kWrite) {
        if (refused(operation, result)) return next_step(operation);
        return finish(operation, result);
    }
    if (result <= 0) return finish(operation, result == 0 ? -EIO : result);
    operation.offset_bytes += static_cast<std::uint64_t>(result);
    operation.rest_bytes -= static_cast<std::uint64_t>(result);
    if (operation.rest_bytes > 0) return next_step(operation);
    finish(operation, 0);
}

bool ZeroWriter::refused(Operation& operation, std::int64_t result) {
    if (result != -EOPNOTSUPP && result != -ENOSYS && result != -ENODEV) return false;
    if (operation.way == Way::kPunch) operation.ways->punch = false;
    if (operation.way == Way::kZeroRange) operation.ways->zero_range = false;
    return true;
}

void ZeroWriter::finish(Operation& operation, std::int64_t result) {
    // Given back first: the callback may well start the next one.
    Completion& done = *operation.done;
    free_.push_front(operation);
    engine_.finish_now(done, result);
}

}  // namespace towline
