// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <cstdint>
#include <functional>
#include <list>
#include <vector>

#include "io/bytes.hpp"
#include "io/clock.hpp"
#include "io/sparse_bytes.hpp"

namespace towline {

class SimulatedRandom;
class SimulatedWorld;

enum class DiskOperation { kRead, kWrite, kFlush, kZero };

struct DiskPlan {
    std::uint64_t size_bytes = 0;
    // A file grows when written past its end; a device says ENOSPC there.
    bool grows = false;
    // What offsets, lengths and memory must be multiples of, else EINVAL as O_DIRECT has it; 1 for
    // a file that is opened buffered.
    std::uint32_t alignment_bytes = 512;
    Duration delay_min = std::chrono::microseconds(20);
    Duration delay_max = std::chrono::microseconds(2000);
    double short_read_rate = 0;
    double short_write_rate = 0;
};

// The nth operation of a kind from now on fails (and every later one, when sticky). Where a range
// is given, only operations that touch it are counted; a flush touches every range.
struct DiskFault {
    DiskOperation operation = DiskOperation::kWrite;
    std::uint64_t nth = 1;
    int system_errno = EIO;
    bool sticky = false;
    std::uint64_t begin_bytes = 0;
    std::uint64_t end_bytes = UINT64_MAX;
};

enum class CrashStyle {
    kAny,       // one of the others, by chance
    kLoseAll,   // every unsynced write is lost
    kKeepAll,   // every one had got through
    kPerWrite,  // each is kept or lost whole, whatever its age
    kTorn,      // each is cut at sectors, and each piece kept or lost
};

struct CrashReport {
    std::uint64_t writes_kept = 0;
    std::uint64_t writes_lost = 0;
    std::uint64_t writes_torn = 0;
};

// An operation under way, filled in by the engine down to the length and by SimulatedDisk::begin
// from there.
struct DiskRequest {
    DiskOperation operation = DiskOperation::kRead;
    MutableByteSpan into{};
    ByteSpan from{};
    std::uint64_t offset_bytes = 0;
    std::uint64_t length_bytes = 0;

    std::uint64_t number = 0;
    std::int64_t result = 0;
    Instant effect_at{};
    Instant done_at{};
    bool refused = false;  // never reached the medium
    bool in_effect = false;
    std::uint64_t flush_mark = 0;
    std::uint64_t piece_count = 0;  // on the list of the unsynced
};

// A disk or image file in memory, with a write cache that a power loss empties as it likes. An
// operation takes effect at one moment between its start and its completion, so that reads meet
// writes in flight in either state. What a flush makes durable is what had *completed* when the
// flush *started*, no more. A flush that failed may have lost what it was for, and the next one
// does not bring it back (as Linux has it since 4.13).
class SimulatedDisk {
  public:
    static constexpr std::uint64_t kSectorBytes = 512;

    SimulatedDisk(SimulatedWorld& world, DiskPlan plan);
    ~SimulatedDisk();
    SimulatedDisk(const SimulatedDisk&) = delete;
    SimulatedDisk& operator=(const SimulatedDisk&) = delete;

    // May be changed at any moment; operations under way keep what was drawn for them.
    DiskPlan& plan() { return plan_; }
    void add_fault(DiskFault fault) { faults_.push_back({fault, 0}); }
    void clear_faults() { faults_.clear(); }

    // Power loss. Every engine that has operations under way here must have been killed before.
    CrashReport crash(CrashStyle style = CrashStyle::kAny);

    std::uint64_t size_bytes() const { return visible_size_bytes_; }
    // As if it had always been there, durable; what it overlaps must not be unsynced. Also how a
    // test rots a byte.
    void fill(std::uint64_t offset_bytes, ByteSpan from);
    // As ftruncate and fsync of an image file: durable at once, and what is cut off never comes
    // back. Nothing may be under way.
    void resize(std::uint64_t size_bytes);
    std::vector<std::byte> contents(std::uint64_t offset_bytes, std::uint64_t length_bytes) const;
    std::vector<std::byte> contents() const { return contents(0, visible_size_bytes_); }
    // What kLoseAll would leave.
    std::vector<std::byte> durable_contents() const;
    std::uint64_t unsynced_count() const { return unsynced_.size(); }
    std::uint64_t started_count(DiskOperation operation) const;

    // For engines, in this order; interrupt stands for the last two when the side is killed.
    void begin(DiskRequest& request);
    void take_effect(DiskRequest& request);
    std::int64_t complete(DiskRequest& request);
    void interrupt(DiskRequest& request);

  private:
    // A write or zeroing (no bytes) that a power loss can undo.
    struct Unsynced {
        std::uint64_t number;  // of the request
        std::uint64_t offset_bytes;
        std::uint64_t length_bytes;
        std::vector<std::byte> bytes;
        std::uint64_t completed_as = 0;  // its place among all completions; 0: in flight
    };
    struct ArmedFault {
        DiskFault fault;
        std::uint64_t seen;
    };
    using PieceAction = std::function<void(std::uint64_t offset, std::uint64_t length, bool kept)>;

    SimulatedRandom& random();
    int fault_for(const DiskRequest& request);
    bool misaligned(const DiskRequest& request) const;
    std::int64_t fate(DiskRequest& request);
    std::int64_t transfer_length(const DiskRequest& request);
    void do_read(DiskRequest& request);
    void do_write(DiskRequest& request, std::uint64_t offset, std::uint64_t length);
    void do_flush(const DiskRequest& request);
    void mark_completed(const DiskRequest& request);
    void tear(std::uint64_t offset, std::uint64_t length, const PieceAction& action);
    void do_torn_write(DiskRequest& request);
    void make_durable(const Unsynced& write, std::uint64_t offset, std::uint64_t length);
    void crash_one(const Unsynced& write, CrashStyle style, double keep_rate, CrashReport& report);

    SimulatedWorld& world_;
    DiskPlan plan_;
    std::vector<ArmedFault> faults_;
    SparseBytes visible_;
    SparseBytes durable_;
    std::uint64_t visible_size_bytes_;
    std::uint64_t durable_size_bytes_;
    std::list<Unsynced> unsynced_;  // in the order in which they took effect
    std::uint64_t started_counts_[4] = {};
    std::uint64_t last_number_ = 0;
    std::uint64_t completion_count_ = 0;
    std::uint64_t under_way_count_ = 0;
};

}  // namespace towline
