// SPDX-License-Identifier: Apache-2.0
// How epochs of a tracked image end. Rule 4: with the gate held, no write is in flight at the
// freeze, so each belongs to one epoch, and the snapshot that is armed with it holds exactly those
// before. Without, what is in flight is marked in both. A hold that ran out before the freeze
// fails the freeze, never a write.

#include "cbt/tracked_image.hpp"

namespace towline {

Status TrackedImage::prepare(std::unique_ptr<SnapshotStore> store, std::uint32_t chunk_bytes) {
    // Memory for the snapshot is had before the mutex is.
    std::shared_ptr<ImageSnapshot> snapshot;
    if (store)
        snapshot = std::make_shared<ImageSnapshot>(size_bytes_, chunk_bytes, std::move(store));
    Lock lock(mutex_);
    if (prepared_) return fail(Code::kBusy, "another freeze of this image is going on; try again");
    if (snapshot && snapshot_)
        return fail(Code::kBusy, "snapshot-" + std::to_string(snapshot_->sequence) +
                                     " of this image stands; remove it first");
    prepared_ = true;
    // A log that stays void makes a crash read as unknown; the epochs in memory are good all the
    // same.
    (void)revive_log(lock);
    // The next epoch's number is durable before this one's is given to anybody: after a crash none
    // comes twice.
    sequence_reserved_ = epochs_.present().sequence + 1;
    if (!log_void_) (void)write_log(lock);
    prepared_snapshot_ = std::move(snapshot);
    return {};
}

Status TrackedImage::hold(Duration drain_max, Duration lease) {
    Lock lock(mutex_);
    if (!prepared_) return fail(Code::kInvalid, "a hold without a prepared freeze");
    hold_begin_ = monotonic_now();
    hold_asked_ = true;
    const Instant end = hold_begin_ + drain_max;
    const auto late = [&] { return monotonic_now() >= end; };
    while (resizing_ && !late())
        wait_until(lock, end);
    if (!resizing_) {
        held_ = true;
        hold_end_ = end + lease;
        while (!in_flight_.empty() && !late())
            wait_until(lock, end);
    }
    if (held_ && in_flight_.empty()) {
        hold_end_ = monotonic_now() + lease;
        return {};
    }
    held_ = false;
    wake();
    return fail(Code::kTimeout,
                "writes in flight were not complete in time; nothing was frozen. Try again, or "
                "allow more time");
}

Result<FrozenEpoch> TrackedImage::freeze() {
    Lock lock(mutex_);
    if (!prepared_ || (prepared_snapshot_ && !hold_asked_))
        return fail(Code::kInvalid, "a freeze that was not prepared");
    if (hold_asked_ && (!gate_closed() || !held_))
        return fail(Code::kTimeout, "the freeze took longer than writes may be held; try again");
    // The size that the store was made for.
    if (prepared_snapshot_ && prepared_snapshot_->states.volume_bytes() != size_bytes_)
        return fail(Code::kBusy, "the image was resized meanwhile; try again");
    FrozenEpoch frozen;
    frozen.after = epochs_.committed();
    frozen.epoch = epochs_.freeze();
    for (const Write& write : in_flight_)
        epochs_.mark(write.extent);
    if (prepared_snapshot_) {
        snapshot_ = std::move(prepared_snapshot_);
        snapshot_->sequence = frozen.epoch.sequence;
        frozen.snapshot = true;
    }
    if (hold_asked_) frozen.held = monotonic_now() - hold_begin_;
    return frozen;
}

void TrackedImage::release() {
    std::shared_ptr<ImageSnapshot> unused;  // freed without the mutex
    const Lock lock(mutex_);
    unused.swap(prepared_snapshot_);
    prepared_ = hold_asked_ = held_ = false;
    wake();
}

Settled TrackedImage::commit(std::uint64_t sequence) {
    Lock lock(mutex_);
    const Settled settled = epochs_.commit(sequence);
    if (settled == Settled::kDone) cool(lock);
    return settled;
}

Settled TrackedImage::give_back(std::uint64_t sequence) {
    const Lock lock(mutex_);
    return epochs_.give_back(sequence);
}

ImageStatus TrackedImage::status() const {
    const Lock lock(mutex_);
    ImageStatus status;
    status.tracker = record_.tracker;
    status.volume_bytes = size_bytes_;
    status.block_bytes = record_.block_bytes;
    status.sequence = epochs_.present().sequence;
    status.sequence_frozen = epochs_.frozen() ? epochs_.frozen()->sequence : 0;
    status.sequence_committed = epochs_.committed();
    status.trust = epochs_.present().trust;
    status.reasons = epochs_.present().reasons;
    status.log_void = log_void_;
    status.log_lost = log_lost_;
    status.writes_seen = writes_seen_;
    status.memory_bytes = epochs_.memory_bytes();
    status.snapshot_sequence = snapshot_ ? snapshot_->sequence : 0;
    return status;
}

}  // namespace towline
