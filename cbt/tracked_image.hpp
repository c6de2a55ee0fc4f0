// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>

#include <boost/intrusive/list.hpp>

#include "cbt/epochs.hpp"
#include "cbt/hot_regions.hpp"
#include "cbt/image_backend.hpp"
#include "cbt/image_snapshot.hpp"
#include "cbt/intent_log.hpp"
#include "io/clock.hpp"

namespace towline {

// What a freeze handed out.
struct FrozenEpoch {
    Epoch epoch;
    std::uint64_t after = 0;  // the newest that was committed before
    Duration held{};
    bool snapshot = false;
};

struct ImageStatus {
    Uuid tracker;
    std::uint64_t volume_bytes = 0;
    std::uint32_t block_bytes = 0;
    std::uint64_t sequence = 0;
    std::uint64_t sequence_frozen = 0;
    std::uint64_t sequence_committed = 0;
    Trust trust = Trust::kExact;
    ChangeReasons reasons;
    bool log_void = false;  // the log could not be written: a crash would read as unknown
    bool log_lost = false;  // and would not even read as that: nothing could be written
    std::uint64_t writes_seen = 0;
    std::uint64_t memory_bytes = 0;
    std::uint64_t snapshot_sequence = 0;  // 0: there is none
};

struct ImageSnapshotStatus {
    std::uint64_t sequence = 0;
    std::uint64_t volume_bytes = 0;
    std::uint32_t chunk_bytes = 0;
    std::uint64_t slots_used = 0;
    std::uint64_t slot_count = 0;
    bool failed = false;
    std::string why;
};

// An image file whose writes are noted before they are made. Any thread may call anything.
//
// A write passes the gate and is in flight from then on; it is marked, waits until the intent log
// has its regions, sees to it that a snapshot has what it overwrites, and only then is made. A
// freeze that is to be one moment of several images holds the gate of each:
//
//     prepare ──► hold (no write is in flight) ──► freeze ──► release
//
// What can take long (the store, the log) is done in prepare, with the gate open.
class TrackedImage {
  public:
    TrackedImage(ImageBackend& backend, IntentLog& log, TrackingRecord record, Epochs epochs);

    // Makes the record durable: nothing may be written before.
    Status start();
    // No call may be going on, and none may follow but status(): the record as it is to be kept.
    TrackingRecord closing_record() const;
    const Epochs& epochs() const { return epochs_; }

    // --- data; an Error's system_errno is what the caller's program is told
    Result<ByteSpan> read(Extent range, MutableByteSpan scratch);
    Status write(std::uint64_t offset_bytes, ByteSpan from);
    Status zero(Extent range, Zeroing how, bool keep_size);
    Status allocate(Extent range, bool keep_size);
    Status resize(std::uint64_t size_bytes);
    Status flush() { return backend_.flush(); }
    std::uint64_t size_bytes() const { return size_bytes_; }

    // --- epochs
    // With a store, the freeze takes a snapshot; kBusy while one stands or another freeze goes on.
    Status prepare(std::unique_ptr<SnapshotStore> store, std::uint32_t chunk_bytes);
    // Closes the gate, for `lease` at most, and waits for what is in flight; kTimeout opens it.
    Status hold(Duration drain_max, Duration lease);
    // Within a hold: one moment. Without: what is in flight is marked in both epochs. kTimeout when
    // the lease has run out.
    Result<FrozenEpoch> freeze();
    // The end of prepare and hold, whatever came of them. Can be repeated.
    void release();
    Settled commit(std::uint64_t sequence);
    Settled give_back(std::uint64_t sequence);
    ImageStatus status() const;

    // --- the snapshot
    Result<ByteSpan> read_snapshot(std::uint64_t sequence, Extent range, MutableByteSpan scratch);
    std::optional<ImageSnapshotStatus> snapshot_status() const;
    // kInvalid when there is none of this epoch.
    Status drop_snapshot(std::uint64_t sequence);

  private:
    using Lock = std::unique_lock<std::mutex>;
    // A write from the gate to its end, on the stack of whoever makes it.
    struct Write : boost::intrusive::list_base_hook<> {
        explicit Write(Extent range) : extent(range) {}
        Extent extent;
        bool alone = false;  // covers no whole units: no other may be made in the same ones
    };
    using Writes = boost::intrusive::list<Write, boost::intrusive::constant_time_size<false>>;
    enum class Resizing { kAny, kGrowOnly };

    // tracked_image.cpp
    Status begin(Write& write, bool grows);
    void end(Write& write);
    void pass_gate(Lock& lock, const Write& write);
    bool gate_closed();
    bool conflicts(const Write& write) const;
    Status resize_alone(Lock& lock, std::uint64_t size_bytes, Resizing how);
    void wait(Lock& lock);
    void wait_until(Lock& lock, Instant end);
    void wake();

    // tracked_image_log.cpp
    TrackingRecord record_now() const;
    ChangeMap needed_regions() const;
    void make_hot(Lock& lock, Extent extent);
    Status write_log(Lock& lock);
    Status revive_log(Lock& lock);
    void cool(Lock& lock);

    // tracked_image_copy.cpp
    void copy_chunks(Lock& lock, Extent extent);
    void copy_chunk(Lock& lock, ImageSnapshot& snapshot, std::uint64_t chunk);
    Status copy_out(Lock& lock, ImageSnapshot& snapshot, std::uint64_t chunk,
                    std::optional<std::uint64_t>& slot);

    ImageBackend& backend_;
    IntentLog& log_;
    std::atomic<std::uint64_t> size_bytes_;
    const std::uint64_t unit_bytes_;  // two writes that share one and do not cover it collide

    mutable std::mutex mutex_;  // guards all below; never held over I/O
    std::condition_variable changed_;
    TrackingRecord record_;  // what does not change, and sizes while a resize goes on
    Epochs epochs_;
    HotRegions regions_;
    Writes in_flight_;
    std::size_t alone_in_flight_ = 0;
    std::size_t waiters_ = 0;  // on changed_
    std::uint64_t writes_seen_ = 0;
    bool logging_ = false;   // somebody writes the log
    bool log_void_ = false;  // a crash would read as unknown
    bool log_lost_ = false;  // not even that could be made durable
    bool reviving_ = false;  // the log is void still, and about to be good again
    bool resizing_ = false;  // the gate is closed by a resize
    bool held_ = false;      // or by a freeze, until hold_end_
    Instant hold_begin_, hold_end_;
    bool prepared_ = false;
    bool hold_asked_ = false;
    std::uint64_t sequence_reserved_ = 0;
    std::shared_ptr<ImageSnapshot> prepared_snapshot_, snapshot_;
};

}  // namespace towline
