// SPDX-License-Identifier: Apache-2.0
// A slot per read walks: read -> check -> (compress on a worker) -> ready -> with others in a
// parcel
// -> sent. A parcel is a frame whose payload is a list of pieces: stretches of the read buffers
// where blocks are raw, of the packed buffers where they are compressed; nothing is copied
// together.

#include "userspace/engine/source_sender.hpp"

#include <algorithm>

#include "io/align.hpp"
#include "io/check.hpp"

namespace towline {

struct SourceSender::Slot {
    Extent extent;
    std::size_t count = 0;  // of blocks
    Buffer* buffer = nullptr;
    Buffer* packed = nullptr;
    std::array<Hash128, wire::kBlocksPerFrameMax> hashes{};
    WholeRead reading;
    int level = 0;
    BlockKind kind{};
    std::array<StoredBlock, wire::kBlocksPerFrameMax> blocks;
    std::vector<iovec> pieces;
    Completion read;
    Work work;
    // Written by the worker, read after it is done.
    std::uint64_t codec_in = 0;
    std::uint64_t codec_out = 0;
    Duration codec_cpu{};
};

struct SourceSender::Parcel {
    std::vector<Slot*> slots;
    std::array<std::byte, DataHead::kEncodedBytesMax> head_bytes{};
    OutFrame frame;
};

namespace {

// Hundreds of MB/s, on any core.
constexpr int kLevelInHaste = 3;

void add_piece(std::vector<iovec>& pieces, std::byte* at, std::size_t length) {
    if (!pieces.empty()) {
        iovec& last = pieces.back();
        if (static_cast<std::byte*>(last.iov_base) + last.iov_len == at) {
            last.iov_len += length;
            return;
        }
    }
    pieces.push_back({.iov_base = at, .iov_len = length});
}

}  // namespace

SourceSender::SourceSender(IoEngine& engine, WorkQueue& workers, BufferPool& pool,
                           std::size_t frame_bytes, VolumeView volume, const BlockCheck& check,
                           const BlockHasher& hasher, RunDigester& digester,
                           const CompressionChoice& compression, Owner& owner)
    : engine_(engine),
      workers_(workers),
      pool_(pool),
      frame_bytes_(std::max(frame_bytes, pool.buffer_bytes())),
      volume_(std::move(volume)),
      check_(check),
      hasher_(hasher),
      digest_(digester),
      compression_(compression),
      owner_(owner),
      control_(compression.codec, compression.workers) {}

SourceSender::~SourceSender() {
    CHECK(idle());
    for (const auto& slot : slots_) {
        if (slot->buffer != nullptr) pool_.give(slot->buffer);
        if (slot->packed != nullptr) packed_->give(slot->packed);
    }
}

void SourceSender::start(TransferPlan plan, std::uint32_t block_bytes) {
    plan_.emplace(plan);
    block_bytes_ = block_bytes;
    pump();
}

void SourceSender::let_go(std::vector<Channel*> lanes, bool skip_zeros) {
    lanes_ = std::move(lanes);
    skip_zeros_ = skip_zeros;
    if (compression_.link_bytes_per_second > 0)
        control_.expect_link(compression_.link_bytes_per_second);
    begin_window();
    for (; !read_ahead_.empty(); read_ahead_.pop_front())
        forward(*read_ahead_.front());
    ship();
    pump();
}

int SourceSender::level() const {
    return compression_.level.value_or(std::max(control_.level(), compression_.least));
}

SourceSender::Slot* SourceSender::take_slot() {
    if (free_.empty()) {
        slots_.push_back(std::make_unique<Slot>());
        Slot* made = slots_.back().get();
        made->read.on_done([this, made](std::int64_t result) {
            --active_;
            --reading_;
            on_read(*made, result);
        });
        made->work.run = [this, made](unsigned) { encode(*made); };
        made->work.done.on_done([this, made](std::int64_t) {
            --active_;
            on_encoded(*made);
        });
        free_.push_back(made);
    }
    Slot* slot = free_.back();
    free_.pop_back();
    return slot;
}

void SourceSender::release(Slot& slot) {
    if (Buffer* packed = std::exchange(slot.packed, nullptr)) {
        packed_->give(packed);
        if (!waiting_for_packed_.empty() && !stopped_) {
            Slot* next = waiting_for_packed_.front();
            waiting_for_packed_.pop_front();
            start_encode(*next);
        }
    }
    in_flight_bytes_ -= slot.extent.length_bytes;
    pool_.give(std::exchange(slot.buffer, nullptr));
    free_.push_back(&slot);
}

void SourceSender::pump() {
    if (pumping_ || stopped_ || !plan_ || all_sent_) return;
    pumping_ = true;
    for (;;) {
        if (!held_back_) held_back_ = plan_->next();
        if (!held_back_ || !start_step(*held_back_)) break;
        held_back_.reset();
    }
    pumping_ = false;
    tell_all_read();
    finish_if_done();
}

void SourceSender::tell_all_read() {
    const bool all = !held_back_ && plan_->exhausted() && reading_ == 0;
    if (stopped_ || all_read_ || !all) return;
    all_read_ = true;
    owner_.on_all_read();
}

std::size_t SourceSender::in_flight_bytes_max() const {
    return counters_.read_bytes < kShortRunBytes ? kInFlightBytesAtFirst : kInFlightBytesMax;
}

bool SourceSender::start_step(const TransferPlan::Step& step) {
    if (step.zeros) {
        if (held()) return false;
        if (!skip_zeros_ && lanes_.front()->queued_bytes() > kQueuedBytesMax) return false;
        send_zeros(step.extent);
        return true;
    }
    // What waits for a link that is full would only grow stale at its level.
    if (in_flight_bytes_ >= in_flight_bytes_max()) return false;
    Buffer* buffer =
        pool_.take(align_up<std::uint64_t>(step.extent.length_bytes, volume_.alignment_bytes));
    if (buffer == nullptr) return false;
    Slot* slot = take_slot();
    slot->extent = step.extent;
    slot->count = step.run.count;
    slot->buffer = buffer;
    in_flight_bytes_ += step.extent.length_bytes;
    ++active_;
    ++reading_;
    slot->reading.start(engine_, volume_, buffer->bytes(), slot->extent.offset_bytes,
                        slot->extent.length_bytes, slot->read);
    return true;
}

void SourceSender::on_read(Slot& slot, std::int64_t result) {
    if (stopped_) return;
    const WholeRead::Step step = slot.reading.take(result);
    if (result > 0) counters_.read_bytes += static_cast<std::uint64_t>(result);
    if (step == WholeRead::Step::kAgain) {
        ++active_;
        ++reading_;
        return;
    }
    if (step == WholeRead::Step::kFailed) {
        return owner_.on_read_failed(system_error(
            slot.reading.system_errno(),
            "cannot read the source at byte " + std::to_string(slot.reading.offset_bytes())));
    }
    check(slot);
    if (held()) {
        read_ahead_.push_back(&slot);
    } else {
        forward(slot);
        ship();
    }
    tell_all_read();
}

void SourceSender::forward(Slot& slot) {
    if (send_if_zero(slot)) return;
    slot.level = level();
    if (slot.level > 0) return start_encode(slot);
    ready_.push_back(&slot);
}

std::uint64_t SourceSender::block_length(const Slot& slot, std::size_t index) const {
    return std::min<std::uint64_t>(block_bytes_, slot.extent.length_bytes - index * block_bytes_);
}

// The one place where a block's check is computed: on what was read, before anything else touches
// it.
void SourceSender::check(Slot& slot) {
    slot.pieces.clear();
    for (std::size_t i = 0; i < slot.count; ++i) {
        const std::uint64_t offset = slot.extent.offset_bytes + i * block_bytes_;
        const std::uint64_t length = block_length(slot, i);
        std::byte* block = slot.buffer->data() + i * block_bytes_;
        const CheckedBlock checked = check_block(check_, hasher_, {block, length}, offset);
        StoredBlock& stored = slot.blocks[i];
        stored = {
            .kind = checked.zero ? wire::kStoredZero : static_cast<std::uint8_t>(BlockKind::kRaw),
            .stored_bytes = checked.zero ? 0 : static_cast<std::uint32_t>(length),
            .crc = checked.crc};
        if (!checked.zero) add_piece(slot.pieces, block, length);
        slot.hashes[i] = checked.hash;
    }
}

bool SourceSender::send_if_zero(Slot& slot) {
    if (!slot.pieces.empty()) return false;
    const Extent extent = slot.extent;
    release(slot);
    send_zeros(extent);
    pump();
    return true;
}

void SourceSender::send_zeros(Extent extent) {
    counters_.zero_bytes += extent.length_bytes;
    counters_.done_bytes += extent.length_bytes;
    if (skip_zeros_) return;
    digest_.add(RecordKind::kZeros, extent.offset_bytes, extent.length_bytes);
    lanes_.front()->send_message(ZeroMessage{extent.offset_bytes, extent.length_bytes});
}

void SourceSender::start_encode(Slot& slot) {
    if (!packed_) packed_ = std::make_unique<BufferPool>(kPackedBuffers, pool_.buffer_bytes());
    slot.packed = packed_->take();
    if (slot.packed == nullptr) {
        waiting_for_packed_.push_back(&slot);
        return;
    }
    slot.kind = codec_for(compression_.codec, slot.level);
    ++active_;
    workers_.submit(slot.work);
}

// Worker thread: touches nothing but the slot and what does not change during a run.
void SourceSender::encode(Slot& slot) {
    thread_local Codec codec;
    const Duration began = compression_.worker_time();
    slot.codec_in = slot.codec_out = 0;
    slot.pieces.clear();
    std::byte* into = slot.packed->data();
    for (std::size_t i = 0; i < slot.count; ++i) {
        StoredBlock& stored = slot.blocks[i];
        if (stored.kind == wire::kStoredZero) continue;
        const std::uint64_t length = block_length(slot, i);
        std::byte* block = slot.buffer->data() + i * block_bytes_;
        const auto packed = codec.compress(slot.kind, slot.level, {block, length}, {into, length});
        slot.codec_in += length;
        slot.codec_out += packed.value_or(length);
        if (!packed) {
            add_piece(slot.pieces, block, length);
            continue;
        }
        stored.kind = static_cast<std::uint8_t>(slot.kind);
        stored.stored_bytes = static_cast<std::uint32_t>(*packed);
        add_piece(slot.pieces, into, *packed);
        into += *packed;
    }
    slot.codec_cpu = compression_.worker_time() - began;
}

void SourceSender::on_encoded(Slot& slot) {
    if (stopped_) return;
    // What was done in haste says nothing of the level that is on trial.
    if (slot.level == level()) {
        window_.compressed_in += slot.codec_in;
        window_.compressed_out += slot.codec_out;
        window_.codec_cpu += slot.codec_cpu;
        window_.level = slot.level;
    }
    ready_.push_back(&slot);
    ship();
}

void SourceSender::on_sent_some() {
    ship();
    pump();
}

// A lane that is at work is left alone: what becomes ready meanwhile then goes in one frame. One
// that is idle takes as much as it sends in one call.
void SourceSender::ship() {
    for (Channel* lane : lanes_) {
        if (stopped_ || ready_.empty()) return;
        if (!lane->drained()) continue;
        while (!ready_.empty() && lane->queued_bytes() + frame_bytes_ <= Channel::kBatchBytes)
            lane->queue(pack().frame);
        lane->send_queued();
    }
}

SourceSender::Parcel& SourceSender::take_parcel() {
    if (free_parcels_.empty()) {
        parcels_.push_back(std::make_unique<Parcel>());
        Parcel* made = parcels_.back().get();
        made->frame.on_sent = [this, made] { on_sent(*made); };
        free_parcels_.push_back(made);
    }
    Parcel& parcel = *free_parcels_.back();
    free_parcels_.pop_back();
    return parcel;
}

// What is ready, as far as a frame may carry it, in the order of the volume.
SourceSender::Parcel& SourceSender::pack() {
    Parcel& parcel = take_parcel();
    parcel.slots.clear();
    std::size_t plain_bytes = 0;
    while (!ready_.empty() && parcel.slots.size() < wire::kExtentsPerFrameMax) {
        Slot* next = ready_.front();
        plain_bytes += next->count * block_bytes_;
        if (plain_bytes > frame_bytes_) break;
        ready_.pop_front();
        parcel.slots.push_back(next);
    }
    std::ranges::sort(parcel.slots, {}, [](const Slot* slot) { return slot->extent.offset_bytes; });
    head_.block_bytes = block_bytes_;
    head_.extent_count = head_.block_count = 0;
    parcel.frame.payload.clear();
    for (const Slot* slot : parcel.slots) {
        note_sending(*slot);
        std::copy_n(slot->blocks.begin(), slot->count, head_.blocks.begin() + head_.block_count);
        head_.add_extent(slot->extent.offset_bytes, static_cast<std::uint32_t>(slot->count));
        parcel.frame.payload.insert(parcel.frame.payload.end(), slot->pieces.begin(),
                                    slot->pieces.end());
    }
    head_.encode(parcel.head_bytes);
    parcel.frame.type = wire::FrameType::kData;
    parcel.frame.head = ByteSpan(parcel.head_bytes).first(head_.encoded_bytes());
    return parcel;
}

void SourceSender::note_sending(const Slot& slot) {
    for (std::size_t i = 0; i < slot.count; ++i) {
        const std::uint64_t offset = slot.extent.offset_bytes + i * block_bytes_;
        digest_.add(RecordKind::kBlock, offset, block_length(slot, i), slot.hashes[i]);
        switch (slot.blocks[i].kind) {
            case static_cast<std::uint8_t>(BlockKind::kRaw):
                ++counters_.raw_blocks;
                break;
            case static_cast<std::uint8_t>(BlockKind::kDeflate):
                ++counters_.deflate_blocks;
                break;
            case static_cast<std::uint8_t>(BlockKind::kZstd):
                ++counters_.zstd_blocks;
                break;
            default:
                break;
        }
    }
}

void SourceSender::on_sent(Parcel& parcel) {
    for (Slot* slot : parcel.slots) {
        counters_.done_bytes += slot->extent.length_bytes;
        window_.raw_bytes += slot->extent.length_bytes;
        release(*slot);
    }
    free_parcels_.push_back(&parcel);
    pump();
}

void SourceSender::finish_if_done() {
    if (stopped_ || all_sent_ || held() || held_back_ || !plan_->exhausted()) return;
    if (free_.size() != slots_.size()) return;
    all_sent_ = true;
    owner_.on_all_sent(digest_.value());
}

void SourceSender::set_level(std::optional<int> level) {
    if (!compression_.understood || level == compression_.level) return;
    compression_.level = level;
    // What was measured until now says nothing of this level.
    begin_window();
    if (!held() && !all_sent_ && this->level() > kLevelNone) compress_waiting();
}

void SourceSender::begin_window() {
    window_ = {.level = level()};
    window_began_ = engine_.now();
    window_wire_began_ = 0;
    window_busy_began_ = {};
    for (const Channel* lane : lanes_) {
        window_wire_began_ += lane->sent_bytes();
        window_busy_began_ = std::max(window_busy_began_, lane->busy_time());
    }
}

void SourceSender::adapt() {
    if (compression_.level || held() || all_sent_) return;
    const std::uint64_t wire_before = window_wire_began_;
    const Duration busy_before = window_busy_began_;
    const Instant began = window_began_;
    LevelControl::Window window = window_;
    begin_window();
    window.length = window_began_ - began;
    window.wire_bytes = window_wire_began_ - wire_before;
    window.link_busy = window_busy_began_ - busy_before;
    control_.step(window);
    window_.level = level();
    if (level() > kLevelNone) compress_waiting();
}

// What was read before the link was known for a slow one need not burden it as it is. The link is
// to find the first of it ready when it has sent what it has.
void SourceSender::compress_waiting() {
    for (std::size_t count = ready_.size(); count > 0; --count) {
        Slot* slot = ready_.front();
        ready_.pop_front();
        if (slot->level > kLevelNone) {
            ready_.push_back(slot);
            continue;
        }
        slot->level = std::min(level(), kLevelInHaste);
        start_encode(*slot);
    }
}

}  // namespace towline
