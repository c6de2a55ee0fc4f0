// SPDX-License-Identifier: Apache-2.0
// A frame walks: (decode on a worker) -> checks -> arrive -> stretches, all at once -> stored. A
// stretch is a run of neighbouring blocks that have contents, or of zero blocks; an extent of raw
// blocks is one stretch in the common case, and one write.

#include "userspace/engine/target_writer.hpp"

#include <algorithm>
#include <cstring>

#include "io/check.hpp"

namespace towline {

struct TargetWriter::Frame {
    // A block's place on the volume and in the payload.
    struct Place {
        std::uint64_t offset_bytes = 0;
        std::uint32_t length_bytes = 0;
        std::uint32_t payload_at = 0;
    };
    std::size_t count = 0;  // of blocks
    std::array<StoredBlock, wire::kBlocksPerFrameMax> blocks;
    std::array<Place, wire::kBlocksPerFrameMax> places;
    std::array<Hash128, wire::kBlocksPerFrameMax> hashes{};
    std::size_t extent_count = 0;
    std::array<Extent, wire::kExtentsPerFrameMax> extents;
    Buffer* payload = nullptr;  // as received
    Buffer* plain = nullptr;    // decompressed, the blocks one behind the other
    Status outcome;             // the first error of its checks or writes
    std::size_t writes_left = 0;
    Work work;

    bool zero(std::size_t index) const { return blocks[index].kind == wire::kStoredZero; }
    std::span<const Extent> ranges() const { return std::span(extents).first(extent_count); }
};

TargetWriter::TargetWriter(WorkQueue& workers, BlockSink& sink, Geometry geometry,
                           const BlockCheck& check, const BlockHasher& hasher, Owner& owner)
    : workers_(workers),
      sink_(sink),
      geometry_(geometry),
      check_(check),
      hasher_(hasher),
      owner_(owner),
      digest_(hasher),
      content_(hasher),
      pool_(geometry.buffer_count, geometry.buffer_bytes, geometry.shelf) {}

TargetWriter::~TargetWriter() {
    CHECK(idle());
}

void TargetWriter::give_back(Buffer* buffer) {
    pool_.give(buffer);
    // Also when stopped: what still comes in is received and dropped, until the peer has heard why.
    owner_.on_room();
}

TargetWriter::Frame& TargetWriter::take_frame() {
    if (free_.empty()) {
        frames_.push_back(std::make_unique<Frame>());
        Frame* made = frames_.back().get();
        made->work.run = [this, made](unsigned) { decode(*made); };
        made->work.done.on_done([this, made](std::int64_t) { on_decoded(*made); });
        free_.push_back(made);
    }
    Frame& frame = *free_.back();
    free_.pop_back();
    ++active_;
    frame.plain = nullptr;
    frame.outcome = {};
    return frame;
}

void TargetWriter::release(Frame& frame) {
    Buffer* payload = std::exchange(frame.payload, nullptr);
    if (Buffer* plain = std::exchange(frame.plain, nullptr)) {
        plain_->give(plain);
        if (!waiting_for_plain_.empty()) {
            Frame* next = waiting_for_plain_.front();
            waiting_for_plain_.pop_front();
            start_decode(*next);
        }
    }
    free_.push_back(&frame);
    --active_;
    give_back(payload);
}

void TargetWriter::release_failed(Frame& frame, Error error) {
    release(frame);
    if (!stopped_) owner_.on_write_failed(std::move(error));
}

void TargetWriter::write(const DataHead& head, std::span<const Extent> extents, Buffer* payload) {
    Frame& frame = take_frame();
    frame.payload = payload;
    frame.count = head.block_count;
    frame.extent_count = extents.size();
    std::ranges::copy(extents, frame.extents.begin());
    std::copy_n(head.blocks.begin(), head.block_count, frame.blocks.begin());
    bool compressed = false;
    std::uint32_t payload_at = 0;
    std::size_t index = 0;
    for (const Extent& extent : extents) {
        for (std::uint64_t at = extent.offset_bytes; at < extent.end_bytes();
             at += geometry_.block_bytes, ++index) {
            frame.places[index] = {
                .offset_bytes = at,
                .length_bytes = static_cast<std::uint32_t>(
                    std::min<std::uint64_t>(geometry_.block_bytes, extent.end_bytes() - at)),
                .payload_at = payload_at};
            payload_at += frame.blocks[index].stored_bytes;
            compressed |= !frame.zero(index) &&
                          frame.blocks[index].kind != static_cast<std::uint8_t>(BlockKind::kRaw);
        }
    }
    CHECK(index == frame.count);
    if (compressed) return start_decode(frame);
    check_raw(frame);
    on_decoded(frame);
}

void TargetWriter::start_decode(Frame& frame) {
    if (!plain_) plain_ = std::make_unique<BufferPool>(kPlainBuffers, geometry_.buffer_bytes);
    frame.plain = plain_->take();
    if (frame.plain == nullptr) {
        waiting_for_plain_.push_back(&frame);
        return;
    }
    workers_.submit(frame.work);
}

MutableByteSpan TargetWriter::plain_of(const Frame& frame, std::size_t index) const {
    const Frame::Place& place = frame.places[index];
    std::byte* at = frame.plain != nullptr ? frame.plain->data() + index * geometry_.block_bytes
                                           : frame.payload->data() + place.payload_at;
    return {at, place.length_bytes};
}

Status TargetWriter::check_block_of(Frame& frame, std::size_t index) {
    const std::uint64_t offset = frame.places[index].offset_bytes;
    const CheckedBlock checked = check_block(check_, hasher_, plain_of(frame, index), offset);
    frame.hashes[index] = checked.hash;
    if (checked.zero || checked.crc != frame.blocks[index].crc) {
        return fail(Code::kCorrupt,
                    "a block arrived damaged (CRC mismatch) at byte " + std::to_string(offset));
    }
    return {};
}

// Raw blocks lie in the payload as they will be written; looked at on the loop's thread, at memory
// speed.
void TargetWriter::check_raw(Frame& frame) {
    for (std::size_t i = 0; i < frame.count && frame.outcome; ++i) {
        frame.hashes[i] = {};
        if (frame.zero(i)) continue;
        frame.outcome =
            frame.blocks[i].stored_bytes == frame.places[i].length_bytes
                ? check_block_of(frame, i)
                : fail(Code::kProtocol, "the source sent a raw block of a wrong length");
    }
}

// Worker thread: touches nothing but the frame.
void TargetWriter::decode(Frame& frame) {
    thread_local Codec codec;
    for (std::size_t i = 0; i < frame.count && frame.outcome; ++i) {
        frame.hashes[i] = {};
        if (!frame.zero(i)) frame.outcome = decode_block(frame, i, codec);
    }
}

Status TargetWriter::decode_block(Frame& frame, std::size_t index, Codec& codec) {
    const StoredBlock& block = frame.blocks[index];
    const ByteSpan stored{frame.payload->data() + frame.places[index].payload_at,
                          block.stored_bytes};
    const MutableByteSpan into = plain_of(frame, index);
    if (block.kind == static_cast<std::uint8_t>(BlockKind::kRaw)) {
        if (stored.size() != into.size()) {
            return fail(Code::kProtocol, "the source sent a raw block of a wrong length");
        }
        std::memcpy(into.data(), stored.data(), stored.size());
    } else {
        TRY_STATUS(codec.decompress(static_cast<BlockKind>(block.kind), stored, into));
    }
    return check_block_of(frame, index);
}

void TargetWriter::on_decoded(Frame& frame) {
    if (!frame.outcome) return release_failed(frame, frame.outcome.error());
    if (stopped_) return release(frame);
    for (std::size_t i = 0; i < frame.count; ++i) {
        const Frame::Place& place = frame.places[i];
        digest_.add(RecordKind::kBlock, place.offset_bytes, place.length_bytes, frame.hashes[i]);
        if (!frame.hashes[i].is_zero_block())
            content_.add(RecordKind::kContent, place.offset_bytes, place.length_bytes,
                         frame.hashes[i]);
    }
    if (!owner_.on_arrived(frame.ranges())) return release(frame);
    store(frame);
}

void TargetWriter::store(Frame& frame) {
    frame.writes_left = 0;
    std::size_t first = 0;
    for (const Extent& extent : frame.ranges()) {
        const auto count = static_cast<std::size_t>(
            (extent.length_bytes + geometry_.block_bytes - 1) / geometry_.block_bytes);
        store_extent(frame, first, first + count);
        first += count;
    }
}

void TargetWriter::store_extent(Frame& frame, std::size_t first, std::size_t end) {
    while (first < end) {
        const bool zeros = frame.zero(first);
        std::size_t behind = first + 1;
        while (behind < end && frame.zero(behind) == zeros)
            ++behind;
        const Frame::Place& last = frame.places[behind - 1];
        const std::uint64_t offset = frame.places[first].offset_bytes;
        if (!zeros || !geometry_.zeroed) {
            ++frame.writes_left;
            const Extent extent{offset, last.offset_bytes + last.length_bytes - offset};
            const auto done = [this, &frame](Status status) {
                on_written(frame, std::move(status));
            };
            if (zeros) {
                sink_.zero(extent, done);
            } else {
                sink_.write({.extent = extent,
                             .plain = plain_of(frame, first).data(),
                             .blocks = std::span(frame.blocks).subspan(first, behind - first),
                             .stored = frame.payload->data() + frame.places[first].payload_at},
                            done);
            }
        }
        first = behind;
    }
}

void TargetWriter::on_written(Frame& frame, Status status) {
    if (!status && frame.outcome) frame.outcome = std::move(status);
    if (--frame.writes_left > 0) return;
    if (!frame.outcome) return release_failed(frame, frame.outcome.error());
    if (stopped_) return release(frame);
    std::array<Extent, wire::kExtentsPerFrameMax> stored;
    const std::size_t count = frame.extent_count;
    std::copy_n(frame.extents.begin(), count, stored.begin());
    release(frame);
    owner_.on_stored(std::span(stored).first(count));
    pump_zeros();
}

void TargetWriter::zero(Extent extent) {
    digest_.add(RecordKind::kZeros, extent.offset_bytes, extent.length_bytes);
    if (!owner_.on_arrived({&extent, 1})) return;
    if (geometry_.zeroed) return owner_.on_stored({&extent, 1});
    zero_queue_.push_back(extent);
    pump_zeros();
}

// Cut so that no single call takes long.
void TargetWriter::pump_zeros() {
    while (!stopped_ && zeros_active_ < kZerosMax && !zero_queue_.empty()) {
        Extent& front = zero_queue_.front();
        const Extent extent{front.offset_bytes, std::min(front.length_bytes, kZeroBytesMax)};
        front = {extent.end_bytes(), front.length_bytes - extent.length_bytes};
        if (front.length_bytes == 0) zero_queue_.pop_front();
        ++zeros_active_;
        ++active_;
        sink_.zero(extent, [this, extent](Status status) { on_zeroed(extent, std::move(status)); });
    }
}

void TargetWriter::on_zeroed(Extent extent, Status status) {
    --zeros_active_;
    --active_;
    if (stopped_) return;
    if (!status) return owner_.on_write_failed(status.error());
    owner_.on_stored({&extent, 1});
    pump_zeros();
}

}  // namespace towline
