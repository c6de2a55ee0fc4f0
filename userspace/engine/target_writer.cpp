// SPDX-License-Identifier: Apache-2.0
// A slot per received frame walks: (decode on a worker) -> checks -> arrive -> write stretch by
// stretch. A stretch is a run of blocks that have contents, or a run of zero blocks; frames of raw
// blocks are one stretch in the common case, and one write. The volume's odd tail is padded with
// what the volume holds there, so that nothing past the source's end is changed.

#include "userspace/engine/target_writer.hpp"

#include <algorithm>
#include <cstring>

#include "io/align.hpp"
#include "io/check.hpp"

namespace towline {

struct TargetWriter::Slot {
    DataHead head;
    Extent extent;
    Buffer* payload = nullptr;  // as received
    Buffer* plain = nullptr;    // decompressed, every block at its own place
    std::array<std::uint32_t, wire::kBlocksPerFrameMax> payload_at{};
    std::array<Hash128, wire::kBlocksPerFrameMax> hashes{};
    Status decoded;

    // The stretch being written: its place, its memory (null: zeros), how far it is.
    enum class Step { kBody, kTailRead, kTailWrite };
    std::size_t next_block = 0;
    Extent stretch;
    std::byte* memory = nullptr;
    std::uint64_t done_bytes = 0;
    Step step = Step::kBody;
    Completion io;
    Work work;
};

namespace {

Error write_error(std::int64_t result, std::uint64_t offset_bytes) {
    const int error = result == 0 ? ENOSPC : static_cast<int>(-result);
    return system_error(error,
                        "cannot write to the target at byte " + std::to_string(offset_bytes));
}

}  // namespace

TargetWriter::TargetWriter(IoEngine& engine, WorkQueue& workers, const TargetVolume& volume,
                           Geometry geometry, const BlockCheck& check, const BlockHasher& hasher,
                           Owner& owner)
    : engine_(engine),
      workers_(workers),
      volume_(volume),
      geometry_(geometry),
      check_(check),
      hasher_(hasher),
      owner_(owner),
      digest_(hasher),
      content_(hasher),
      pool_(geometry.buffer_count, geometry.buffer_bytes, geometry.shelf),
      tail_(tail_pool_.take()) {}

TargetWriter::~TargetWriter() {
    CHECK(idle());
    tail_pool_.give(tail_);
}

void TargetWriter::give_back(Buffer* buffer) {
    pool_.give(buffer);
    // Also when stopped: what still comes in is received and dropped, until the peer has heard why.
    owner_.on_room();
}

TargetWriter::Slot* TargetWriter::take_slot() {
    if (free_.empty()) {
        slots_.push_back(std::make_unique<Slot>());
        Slot* made = slots_.back().get();
        made->io.on_done([this, made](std::int64_t result) { on_io(*made, result); });
        made->work.run = [this, made](unsigned) { decode(*made); };
        made->work.done.on_done([this, made](std::int64_t) { on_decoded(*made); });
        free_.push_back(made);
    }
    Slot* slot = free_.back();
    free_.pop_back();
    ++active_;
    slot->plain = nullptr;
    slot->next_block = 0;
    slot->head.count = 0;
    slot->decoded = {};
    return slot;
}

void TargetWriter::release(Slot& slot) {
    Buffer* payload = std::exchange(slot.payload, nullptr);
    if (Buffer* plain = std::exchange(slot.plain, nullptr)) {
        plain_->give(plain);
        if (!waiting_for_plain_.empty()) {
            Slot* next = waiting_for_plain_.front();
            waiting_for_plain_.pop_front();
            start_decode(*next);
        }
    }
    if (slot.head.count == 0) --zeros_active_;
    free_.push_back(&slot);
    --active_;
    if (payload != nullptr) give_back(payload);
}

void TargetWriter::release_failed(Slot& slot, Error error) {
    release(slot);
    if (!stopped_) owner_.on_write_failed(std::move(error));
}

std::uint64_t TargetWriter::block_length(const Slot& slot, std::size_t index) const {
    const std::uint64_t offset = slot.extent.offset_bytes + index * geometry_.block_bytes;
    return std::min<std::uint64_t>(geometry_.block_bytes, slot.extent.end_bytes() - offset);
}

std::byte* TargetWriter::block_memory(const Slot& slot, std::size_t index) const {
    if (slot.plain != nullptr) return slot.plain->data() + index * geometry_.block_bytes;
    return slot.payload->data() + slot.payload_at[index];
}

void TargetWriter::write(const DataHead& head, Extent extent, Buffer* payload) {
    Slot* slot = take_slot();
    slot->head = head;
    slot->extent = extent;
    slot->payload = payload;
    bool compressed = false;
    std::uint32_t at = 0;
    for (std::size_t i = 0; i < head.count; ++i) {
        slot->payload_at[i] = at;
        at += head.blocks[i].stored_bytes;
        const std::uint8_t kind = head.blocks[i].kind;
        compressed |=
            kind != wire::kStoredZero && kind != static_cast<std::uint8_t>(BlockKind::kRaw);
    }
    if (compressed) return start_decode(*slot);
    check_raw(*slot);
    on_decoded(*slot);
}

void TargetWriter::start_decode(Slot& slot) {
    if (!plain_) plain_ = std::make_unique<BufferPool>(kPlainBuffers, geometry_.buffer_bytes);
    slot.plain = plain_->take();
    if (slot.plain == nullptr) {
        waiting_for_plain_.push_back(&slot);
        return;
    }
    workers_.submit(slot.work);
}

// Raw blocks lie in the payload as they will be written; looked at on the loop's thread, at memory
// speed.
void TargetWriter::check_raw(Slot& slot) {
    for (std::size_t i = 0; i < slot.head.count && slot.decoded; ++i) {
        if (slot.head.blocks[i].kind == wire::kStoredZero) {
            slot.hashes[i] = {};
            continue;
        }
        const std::uint64_t length = block_length(slot, i);
        if (slot.head.blocks[i].stored_bytes != length) {
            slot.decoded = fail(Code::kProtocol, "the source sent a raw block of a wrong length");
            return;
        }
        const std::uint64_t offset = slot.extent.offset_bytes + i * geometry_.block_bytes;
        const CheckedBlock checked =
            check_block(check_, hasher_, {block_memory(slot, i), length}, offset);
        slot.hashes[i] = checked.hash;
        if (checked.zero || checked.crc != slot.head.blocks[i].crc) {
            slot.decoded = fail(Code::kCorrupt, "a block arrived damaged (CRC mismatch) at byte " +
                                                    std::to_string(offset));
        }
    }
}

// Worker thread: touches nothing but the slot.
void TargetWriter::decode(Slot& slot) {
    thread_local Codec codec;
    for (std::size_t i = 0; i < slot.head.count && slot.decoded; ++i) {
        const ByteSpan stored{slot.payload->data() + slot.payload_at[i],
                              slot.head.blocks[i].stored_bytes};
        slot.decoded = decode_block(slot, i, codec, stored);
    }
}

Status TargetWriter::decode_block(Slot& slot, std::size_t index, Codec& codec, ByteSpan stored) {
    const StoredBlock& block = slot.head.blocks[index];
    const MutableByteSpan into{block_memory(slot, index), block_length(slot, index)};
    slot.hashes[index] = {};
    if (block.kind == wire::kStoredZero) return {};
    const std::uint64_t offset = slot.extent.offset_bytes + index * geometry_.block_bytes;
    if (block.kind == static_cast<std::uint8_t>(BlockKind::kRaw)) {
        if (stored.size() != into.size()) {
            return fail(Code::kProtocol, "the source sent a raw block of a wrong length");
        }
        std::memcpy(into.data(), stored.data(), stored.size());
    } else {
        TRY_STATUS(codec.decompress(static_cast<BlockKind>(block.kind), stored, into));
    }
    const CheckedBlock checked = check_block(check_, hasher_, into, offset);
    slot.hashes[index] = checked.hash;
    if (checked.zero || checked.crc != block.crc) {
        return fail(Code::kCorrupt,
                    "a block arrived damaged (CRC mismatch) at byte " + std::to_string(offset));
    }
    return {};
}

void TargetWriter::on_decoded(Slot& slot) {
    if (!slot.decoded) return release_failed(slot, slot.decoded.error());
    if (stopped_) return release(slot);
    for (std::size_t i = 0; i < slot.head.count; ++i) {
        const std::uint64_t offset = slot.extent.offset_bytes + i * geometry_.block_bytes;
        const std::uint64_t length = block_length(slot, i);
        digest_.add(RecordKind::kBlock, offset, length, slot.hashes[i]);
        if (!slot.hashes[i].is_zero_block())
            content_.add(RecordKind::kContent, offset, length, slot.hashes[i]);
    }
    if (!owner_.on_arrived(slot.extent)) return release(slot);
    next_stretch(slot);
}

void TargetWriter::next_stretch(Slot& slot) {
    const auto is_zero_block = [&](std::size_t i) {
        return slot.head.blocks[i].kind == wire::kStoredZero;
    };
    while (slot.next_block < slot.head.count) {
        const std::size_t first = slot.next_block;
        const bool zeros = is_zero_block(first);
        while (slot.next_block < slot.head.count && is_zero_block(slot.next_block) == zeros)
            ++slot.next_block;
        if (zeros && volume_.zeroed) continue;
        const std::size_t last = slot.next_block - 1;
        slot.stretch = {slot.extent.offset_bytes + first * geometry_.block_bytes,
                        (last - first) * geometry_.block_bytes + block_length(slot, last)};
        slot.memory = zeros ? nullptr : block_memory(slot, first);
        slot.done_bytes = 0;
        slot.step = Slot::Step::kBody;
        return issue(slot);
    }
    const Extent stored = slot.extent;
    release(slot);
    owner_.on_stored(stored);
    if (!zero_queue_.empty()) pump_zeros();
}

// The aligned part goes as it is; what is left of the last sector goes by way of tail_, so that the
// bytes behind it stay what they are. A volume has one end, a run brings it once: tail_ has one
// user.
void TargetWriter::issue(Slot& slot) {
    const std::uint64_t alignment = volume_.view.alignment_bytes;
    const std::uint64_t body_bytes =
        align_down<std::uint64_t>(slot.stretch.length_bytes, alignment);
    const Handle handle = volume_.view.handle;
    if (slot.step == Slot::Step::kBody && slot.done_bytes == body_bytes) {
        if (body_bytes == slot.stretch.length_bytes) return next_stretch(slot);
        slot.step = Slot::Step::kTailRead;
        std::memset(tail_->data(), 0, alignment);
    }
    const std::uint64_t offset = slot.stretch.offset_bytes + slot.done_bytes;
    switch (slot.step) {
        case Slot::Step::kBody:
            if (slot.memory == nullptr) {
                return engine_.zero(handle, offset, body_bytes - slot.done_bytes, volume_.zero_mode,
                                    slot.io);
            }
            return engine_.write(handle,
                                 {slot.memory + slot.done_bytes, body_bytes - slot.done_bytes},
                                 offset, slot.io);
        case Slot::Step::kTailRead:
            return engine_.read(handle, tail_->bytes().first(alignment), offset, slot.io);
        case Slot::Step::kTailWrite:
            return engine_.write(handle, tail_->bytes().first(alignment), offset, slot.io);
    }
}

void TargetWriter::on_io(Slot& slot, std::int64_t result) {
    if (stopped_) return release(slot);
    if (result == -EINTR || result == -EAGAIN) return issue(slot);
    // An image file that ends before its last sector does reads short there: the rest are zeros.
    const bool nothing_there =
        result == 0 && slot.step == Slot::Step::kTailRead && volume_.exact_size;
    const bool zeroed = result == 0 && slot.memory == nullptr && slot.step == Slot::Step::kBody;
    if (result < 0 || (result == 0 && !nothing_there && !zeroed)) {
        return release_failed(slot, write_error(result, slot.stretch.offset_bytes));
    }
    const std::uint64_t alignment = volume_.view.alignment_bytes;
    const std::uint64_t body_bytes =
        align_down<std::uint64_t>(slot.stretch.length_bytes, alignment);
    switch (slot.step) {
        case Slot::Step::kBody:
            slot.done_bytes =
                zeroed ? body_bytes : slot.done_bytes + static_cast<std::uint64_t>(result);
            // A write cut off between sectors is taken up at the sector's begin.
            slot.done_bytes = align_down(slot.done_bytes, alignment);
            return issue(slot);
        case Slot::Step::kTailRead: {
            // On a device the rest of the sector belongs to others: all of it must have come.
            const bool cut = static_cast<std::uint64_t>(result) < alignment;
            if (cut && !volume_.exact_size) return issue(slot);
            const std::uint64_t tail_bytes = slot.stretch.length_bytes - slot.done_bytes;
            if (slot.memory == nullptr) std::memset(tail_->data(), 0, tail_bytes);
            if (slot.memory != nullptr)
                std::memcpy(tail_->data(), slot.memory + slot.done_bytes, tail_bytes);
            slot.step = Slot::Step::kTailWrite;
            return issue(slot);
        }
        case Slot::Step::kTailWrite:
            if (static_cast<std::uint64_t>(result) < alignment) return issue(slot);
            return next_stretch(slot);
    }
}

void TargetWriter::zero(Extent extent) {
    digest_.add(RecordKind::kZeros, extent.offset_bytes, extent.length_bytes);
    if (!owner_.on_arrived(extent)) return;
    if (volume_.zeroed) return owner_.on_stored(extent);
    zero_queue_.push_back(extent);
    pump_zeros();
}

// A slot without blocks: its only stretch is the range itself, cut so that no single call takes
// long.
void TargetWriter::pump_zeros() {
    while (!stopped_ && zeros_active_ < kZerosMax && !zero_queue_.empty()) {
        Extent& front = zero_queue_.front();
        Slot* slot = take_slot();
        slot->extent = {front.offset_bytes, std::min(front.length_bytes, kZeroBytesMax)};
        front = {slot->extent.end_bytes(), front.length_bytes - slot->extent.length_bytes};
        if (front.length_bytes == 0) zero_queue_.pop_front();
        slot->stretch = slot->extent;
        slot->memory = nullptr;
        slot->done_bytes = 0;
        slot->step = Slot::Step::kBody;
        ++zeros_active_;
        issue(*slot);
    }
}

}  // namespace towline
