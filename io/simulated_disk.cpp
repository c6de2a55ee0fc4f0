// SPDX-License-Identifier: Apache-2.0
// Two images of the same disk: `visible_` is what reads see, `durable_` what is certain to survive.
// Every write goes into the visible one and onto the list of the unsynced, in the order in which
// they took effect; a flush moves the ones it covers into the durable image, a crash a choice of
// them. Overlapping writes of which the first had completed before the second was started are in
// that order on the list, so an older one never comes back over a newer that was flushed.

#include "io/simulated_disk.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "io/check.hpp"
#include "io/simulated_world.hpp"

namespace towline {

namespace {

// A read that failed leaves this: whoever goes on with the buffer sends something that no check of
// a test takes for data.
constexpr int kGarbage = 0xdb;

bool touches(const DiskFault& fault, const DiskRequest& request) {
    if (request.operation == DiskOperation::kFlush) return true;
    return request.offset_bytes < fault.end_bytes &&
           request.offset_bytes + request.length_bytes > fault.begin_bytes;
}

}  // namespace

SimulatedDisk::SimulatedDisk(SimulatedWorld& world, DiskPlan plan)
    : world_(world),
      plan_(plan),
      visible_size_bytes_(plan.size_bytes),
      durable_size_bytes_(plan.size_bytes) {}

SimulatedDisk::~SimulatedDisk() {
    CHECK(under_way_count_ == 0);
}

SimulatedRandom& SimulatedDisk::random() {
    return world_.random();
}

std::uint64_t SimulatedDisk::started_count(DiskOperation operation) const {
    return started_counts_[static_cast<int>(operation)];
}

// ---- the life of a request

void SimulatedDisk::begin(DiskRequest& request) {
    request.number = ++last_number_;
    ++started_counts_[static_cast<int>(request.operation)];
    ++under_way_count_;
    request.result = fate(request);
    request.flush_mark = completion_count_;
    const Duration delay = random().between(plan_.delay_min, plan_.delay_max);
    request.effect_at = world_.now() + random().between(Duration(0), delay);
    request.done_at = world_.now() + delay;
}

std::int64_t SimulatedDisk::fate(DiskRequest& request) {
    if (misaligned(request)) {
        request.refused = true;
        return -EINVAL;
    }
    if (const int error = fault_for(request)) return -error;
    if (request.operation == DiskOperation::kFlush) return 0;
    const std::int64_t length = transfer_length(request);
    request.refused = length < 0;
    return length;
}

bool SimulatedDisk::misaligned(const DiskRequest& request) const {
    if (request.operation == DiskOperation::kFlush) return false;
    const auto bad = [this](std::uint64_t value) { return value % plan_.alignment_bytes != 0; };
    const void* memory =
        request.operation == DiskOperation::kRead ? request.into.data() : request.from.data();
    return bad(request.offset_bytes) || bad(request.length_bytes) ||
           bad(reinterpret_cast<std::uintptr_t>(memory));
}

int SimulatedDisk::fault_for(const DiskRequest& request) {
    int error = 0;
    for (ArmedFault& armed : faults_) {
        if (armed.fault.operation != request.operation || !touches(armed.fault, request)) continue;
        ++armed.seen;
        const bool hit =
            armed.fault.sticky ? armed.seen >= armed.fault.nth : armed.seen == armed.fault.nth;
        if (hit && error == 0) error = armed.fault.system_errno;
    }
    return error;
}

// What the operation will have moved when it completes; reads meet the end of file when they take
// effect.
std::int64_t SimulatedDisk::transfer_length(const DiskRequest& request) {
    const bool past_end =
        !plan_.grows && request.offset_bytes + request.length_bytes > visible_size_bytes_;
    if (request.operation == DiskOperation::kZero) return past_end ? -EINVAL : 0;
    std::uint64_t length = request.length_bytes;
    if (request.operation == DiskOperation::kWrite && past_end) {
        if (request.offset_bytes >= visible_size_bytes_) return length == 0 ? 0 : -ENOSPC;
        length = visible_size_bytes_ - request.offset_bytes;
    }
    const double short_rate =
        request.operation == DiskOperation::kRead ? plan_.short_read_rate : plan_.short_write_rate;
    const bool cut = random().chance(short_rate);
    if (cut && length > kSectorBytes) {
        length = kSectorBytes * random().between(1, (length - 1) / kSectorBytes);
    }
    return static_cast<std::int64_t>(length);
}

void SimulatedDisk::take_effect(DiskRequest& request) {
    request.in_effect = true;
    if (request.refused) return;
    switch (request.operation) {
        case DiskOperation::kRead:
            return do_read(request);
        case DiskOperation::kFlush:
            return do_flush(request);
        case DiskOperation::kWrite:
            if (request.result < 0) return do_torn_write(request);
            return do_write(request, request.offset_bytes,
                            static_cast<std::uint64_t>(request.result));
        case DiskOperation::kZero:
            if (request.result < 0) return do_torn_write(request);
            return do_write(request, request.offset_bytes, request.length_bytes);
    }
}

std::int64_t SimulatedDisk::complete(DiskRequest& request) {
    CHECK(request.in_effect && under_way_count_ > 0);
    --under_way_count_;
    mark_completed(request);
    return request.result;
}

// The pieces of one request are neighbours on the list, and not far from its end.
void SimulatedDisk::mark_completed(const DiskRequest& request) {
    ++completion_count_;
    std::uint64_t left = request.piece_count;
    for (auto write = unsynced_.rbegin(); left > 0 && write != unsynced_.rend(); ++write) {
        if (write->number != request.number) continue;
        write->completed_as = completion_count_;
        --left;
    }
    CHECK(left == 0);
}

// The side died with this in the drive's or the kernel's hands: it happened, in part, or not at
// all. What did happen counts as completed, since a flush of whoever comes next covers it.
void SimulatedDisk::interrupt(DiskRequest& request) {
    CHECK(under_way_count_ > 0);
    --under_way_count_;
    if (!request.in_effect && !request.refused && request.operation != DiskOperation::kRead) {
        const std::uint64_t choice = random().below(3);
        const bool whole = choice == 2 || request.operation == DiskOperation::kFlush;
        if (choice != 0) whole ? take_effect(request) : do_torn_write(request);
    }
    mark_completed(request);
}

// ---- effects

void SimulatedDisk::do_read(DiskRequest& request) {
    if (request.result < 0) {
        if (!request.into.empty()) std::memset(request.into.data(), kGarbage, request.into.size());
        return;
    }
    const std::uint64_t size = visible_size_bytes_;
    const std::uint64_t rest = request.offset_bytes < size ? size - request.offset_bytes : 0;
    const std::uint64_t length = std::min(static_cast<std::uint64_t>(request.result), rest);
    visible_.read(request.offset_bytes, request.into.first(length));
    request.result = static_cast<std::int64_t>(length);
}

void SimulatedDisk::do_write(DiskRequest& request, std::uint64_t offset, std::uint64_t length) {
    if (length == 0) return;
    std::vector<std::byte> bytes;
    if (request.operation == DiskOperation::kWrite) {
        const ByteSpan piece = request.from.subspan(offset - request.offset_bytes, length);
        bytes.assign(piece.begin(), piece.end());
        visible_.write(offset, bytes);
    } else {
        visible_.zero(offset, length);
    }
    visible_size_bytes_ = std::max(visible_size_bytes_, offset + length);
    unsynced_.push_back({request.number, offset, length, std::move(bytes)});
    ++request.piece_count;
}

void SimulatedDisk::do_flush(const DiskRequest& request) {
    for (auto write = unsynced_.begin(); write != unsynced_.end();) {
        const bool covered = write->completed_as != 0 && write->completed_as <= request.flush_mark;
        const bool failed = request.result < 0;
        // Failed: what is taken off the list here without becoming durable stays readable, and no
        // later flush will save it.
        if (!covered || (failed && random().chance(0.5))) {
            ++write;
            continue;
        }
        if (!failed) make_durable(*write, write->offset_bytes, write->length_bytes);
        write = unsynced_.erase(write);
    }
}

// Cuts at sector borders, into few pieces whatever the length, single sectors among them.
void SimulatedDisk::tear(std::uint64_t offset, std::uint64_t length, const PieceAction& action) {
    const std::uint64_t end = offset + length;
    while (offset < end) {
        const std::uint64_t sectors_left = (end - 1) / kSectorBytes - offset / kSectorBytes + 1;
        const std::uint64_t sectors = random().chance(0.3) ? 1 : random().between(1, sectors_left);
        const std::uint64_t piece_end =
            std::min(end, (offset / kSectorBytes + sectors) * kSectorBytes);
        action(offset, piece_end - offset, random().chance(0.5));
        offset = piece_end;
    }
}

void SimulatedDisk::do_torn_write(DiskRequest& request) {
    std::uint64_t length = request.length_bytes;
    if (!plan_.grows) {
        const std::uint64_t size = visible_size_bytes_;
        length = std::min(length, size - std::min(size, request.offset_bytes));
    }
    tear(request.offset_bytes, length,
         [&](std::uint64_t piece_offset, std::uint64_t piece_length, bool kept) {
             if (kept) do_write(request, piece_offset, piece_length);
         });
}

void SimulatedDisk::make_durable(const Unsynced& write, std::uint64_t offset,
                                 std::uint64_t length) {
    if (write.bytes.empty()) {
        durable_.zero(offset, length);
    } else {
        durable_.write(offset, ByteSpan(write.bytes).subspan(offset - write.offset_bytes, length));
    }
    durable_size_bytes_ = std::max(durable_size_bytes_, offset + length);
}

// ---- power loss

CrashReport SimulatedDisk::crash(CrashStyle style) {
    CHECK(under_way_count_ == 0);
    if (style == CrashStyle::kAny) style = static_cast<CrashStyle>(random().between(1, 4));
    // Few lost among many kept finds other bugs than few kept among many lost.
    constexpr double kKeepRates[] = {0.05, 0.5, 0.95};
    const double keep_rate = kKeepRates[random().below(std::size(kKeepRates))];
    CrashReport report;
    for (const Unsynced& write : unsynced_) {
        crash_one(write, style, keep_rate, report);
    }
    unsynced_.clear();
    visible_ = durable_;
    visible_size_bytes_ = durable_size_bytes_;
    world_.note("crash", report.writes_kept, report.writes_lost);
    return report;
}

void SimulatedDisk::crash_one(const Unsynced& write, CrashStyle style, double keep_rate,
                              CrashReport& report) {
    bool any_kept = false;
    bool any_lost = false;
    const auto decide = [&](std::uint64_t offset, std::uint64_t length, bool kept) {
        (kept ? any_kept : any_lost) = true;
        if (kept) make_durable(write, offset, length);
    };
    if (style == CrashStyle::kTorn) {
        tear(write.offset_bytes, write.length_bytes, decide);
    } else {
        const bool kept = style == CrashStyle::kKeepAll ||
                          (style == CrashStyle::kPerWrite && random().chance(keep_rate));
        decide(write.offset_bytes, write.length_bytes, kept);
    }
    ++(any_kept && any_lost ? report.writes_torn
       : any_kept           ? report.writes_kept
                            : report.writes_lost);
}

// ---- for tests

void SimulatedDisk::fill(std::uint64_t offset_bytes, ByteSpan from) {
    visible_.write(offset_bytes, from);
    durable_.write(offset_bytes, from);
    visible_size_bytes_ = std::max(visible_size_bytes_, offset_bytes + from.size());
    durable_size_bytes_ = std::max(durable_size_bytes_, offset_bytes + from.size());
}

void SimulatedDisk::resize(std::uint64_t size_bytes) {
    CHECK(under_way_count_ == 0);
    if (const std::uint64_t old = std::max(visible_size_bytes_, durable_size_bytes_);
        size_bytes < old) {
        visible_.zero(size_bytes, old - size_bytes);
        durable_.zero(size_bytes, old - size_bytes);
        for (Unsynced& write : unsynced_) {
            const std::uint64_t begin = std::min(write.offset_bytes, size_bytes);
            write.length_bytes = std::min(write.length_bytes, size_bytes - begin);
            if (!write.bytes.empty()) write.bytes.resize(write.length_bytes);
        }
        unsynced_.remove_if([](const Unsynced& write) { return write.length_bytes == 0; });
    }
    visible_size_bytes_ = durable_size_bytes_ = size_bytes;
}

std::vector<std::byte> SimulatedDisk::contents(std::uint64_t offset_bytes,
                                               std::uint64_t length_bytes) const {
    std::vector<std::byte> bytes(length_bytes);
    visible_.read(offset_bytes, bytes);
    return bytes;
}

std::vector<std::byte> SimulatedDisk::durable_contents() const {
    std::vector<std::byte> bytes(durable_size_bytes_);
    durable_.read(0, bytes);
    return bytes;
}

}  // namespace towline
