// SPDX-License-Identifier: Apache-2.0
// Copy-on-write of a tracked image. The first write to a chunk of a standing snapshot reads and
// stores what is there before it is made; another write to the same chunk waits for that. Whatever
// fails, fails the snapshot: the write goes on.
//
// A reader of the snapshot that finds a chunk new reads the origin, and looks at the state again:
// still new, or being copied, and no write can have come before its own read ended.

#include <algorithm>

#include "cbt/tracked_image.hpp"
#include "io/align.hpp"
#include "io/checksum.hpp"

namespace towline {

namespace {

constexpr std::uint64_t kStoreAlignment = 4096;

Error image_failed(const Error& why) {
    return {Code::kIo, EIO, "the snapshot failed: " + why.text()};
}

}  // namespace

void TrackedImage::copy_chunks(Lock& lock, Extent extent) {
    const std::shared_ptr<ImageSnapshot> snapshot = snapshot_;
    if (!snapshot || snapshot->failed) return;
    const BlockRun chunks = snapshot->states.chunks_of(extent);
    if (chunks.count == 0 || snapshot->states.all_done(chunks)) return;
    for (std::uint64_t chunk = chunks.first; chunk < chunks.end(); ++chunk) {
        // No other snapshot can take its place: that waits until this write is through.
        while (!snapshot->failed && snapshot == snapshot_) {
            const ChunkState state = snapshot->states.state(chunk);
            if (state == ChunkState::kDone) break;
            if (state == ChunkState::kCopying)
                wait(lock);
            else
                copy_chunk(lock, *snapshot, chunk);
        }
    }
}

void TrackedImage::copy_chunk(Lock& lock, ImageSnapshot& snapshot, std::uint64_t chunk) {
    snapshot.states.claim(chunk);
    std::optional<std::uint64_t> slot;
    const Status copied = copy_out(lock, snapshot, chunk, slot);
    if (copied) {
        snapshot.states.finish(chunk, slot);
    } else {
        snapshot.states.abandon(chunk);
        snapshot.fail(copied.error());
    }
    wake();
}

// Comes and returns with the lock, and lets go of it for the I/O.
Status TrackedImage::copy_out(Lock& lock, ImageSnapshot& snapshot, std::uint64_t chunk,
                              std::optional<std::uint64_t>& slot) {
    const std::uint64_t begin = chunk * snapshot.states.chunk_bytes();
    const std::uint64_t length = std::min<std::uint64_t>(snapshot.states.chunk_bytes(),
                                                         snapshot.states.volume_bytes() - begin);
    lock.unlock();
    const ScratchPool::Loan scratch(snapshot.scratch);
    const Result<ByteSpan> old = backend_.read({begin, length}, scratch.bytes());
    const bool zero = old && is_zero(*old);
    lock.lock();
    if (!old) return std::unexpected(old.error());
    if (old->size() != length) return fail_errno(EIO, "the image is shorter than its snapshot");
    if (zero) return {};
    slot = snapshot.states.take_slot();
    if (!slot)
        return fail_errno(ENOSPC, "its difference store of " +
                                      std::to_string(snapshot.states.slot_count()) +
                                      " chunks is full; allow it a larger one");
    lock.unlock();
    const MutableByteSpan stored = scratch.bytes().first(align_up(length, kStoreAlignment));
    std::ranges::fill(stored.subspan(length), std::byte{0});
    const Status put = snapshot.store->put(*slot, stored);
    lock.lock();
    return put;
}

Result<ByteSpan> TrackedImage::read_snapshot(std::uint64_t sequence, Extent range,
                                             MutableByteSpan scratch) {
    Lock lock(mutex_);
    const std::shared_ptr<ImageSnapshot> snapshot = snapshot_;
    if (!snapshot || snapshot->sequence != sequence)
        return fail_errno(EIO, "there is no such snapshot");
    const std::uint64_t end = std::min(range.end_bytes(), snapshot->states.volume_bytes());
    if (range.offset_bytes >= end) return ByteSpan();
    const std::uint64_t base = align_down(range.offset_bytes, kStoreAlignment);
    const std::uint64_t chunk_bytes = snapshot->states.chunk_bytes();
    std::uint64_t at = base;
    while (at < end) {
        if (snapshot->failed) return std::unexpected(image_failed(snapshot->why));
        const std::uint64_t chunk = at / chunk_bytes;
        const std::uint64_t piece = std::min((chunk + 1) * chunk_bytes, end) - at;
        const MutableByteSpan into = scratch.subspan(at - base, align_up(piece, kStoreAlignment));
        if (snapshot->states.state(chunk) == ChunkState::kDone) {
            const auto slot = snapshot->states.slot_of(chunk);
            lock.unlock();
            if (slot)
                TRY_STATUS(snapshot->store->get(*slot, at - chunk * chunk_bytes, into));
            else
                std::ranges::fill(into, std::byte{0});
            lock.lock();
        } else {
            lock.unlock();
            const Result<ByteSpan> origin = backend_.read({at, piece}, into);
            lock.lock();
            if (snapshot->states.state(chunk) == ChunkState::kDone) continue;
            if (!origin) return std::unexpected(origin.error());
            if (origin->size() != piece)
                return fail_errno(EIO, "the image is shorter than its snapshot");
            // It failed meanwhile: from then on nobody waits for a copy.
            if (snapshot->failed) continue;
        }
        at += piece;
    }
    return ByteSpan(scratch).subspan(range.offset_bytes - base, end - range.offset_bytes);
}

std::optional<ImageSnapshotStatus> TrackedImage::snapshot_status() const {
    const Lock lock(mutex_);
    if (!snapshot_) return std::nullopt;
    return ImageSnapshotStatus{.sequence = snapshot_->sequence,
                               .volume_bytes = snapshot_->states.volume_bytes(),
                               .chunk_bytes = snapshot_->states.chunk_bytes(),
                               .slots_used = snapshot_->states.slots_used(),
                               .slot_count = snapshot_->states.slot_count(),
                               .failed = snapshot_->failed,
                               .why = snapshot_->failed ? snapshot_->why.text() : ""};
}

Status TrackedImage::drop_snapshot(std::uint64_t sequence) {
    std::shared_ptr<ImageSnapshot> dropped;  // its store is given back without the mutex
    const Lock lock(mutex_);
    if (!snapshot_ || snapshot_->sequence != sequence)
        return fail(Code::kInvalid, "there is no snapshot of epoch " + std::to_string(sequence));
    dropped.swap(snapshot_);
    wake();
    return {};
}

}  // namespace towline
