// SPDX-License-Identifier: Apache-2.0
// A piece is read by one thread, whoever comes first; others who want it wait. The reader of a
// piece never waits for another one meanwhile, so that nobody waits in a circle. What cannot be
// read is not kept: the range that was asked for is then read by itself, so that a damaged block
// costs nobody the block beside it.

#include "userspace/vault/volume_cache.hpp"

#include <algorithm>
#include <cstring>

namespace towline {

VolumeCache::VolumeCache(std::shared_ptr<VolumeReader> volume, Options options)
    : volume_(std::move(volume)),
      options_(options),
      piece_bytes_(std::max<std::uint64_t>(kPieceBytes, volume_->block_bytes())) {
    for (unsigned i = 0; i < options_.ahead_threads; ++i)
        threads_.emplace_back([this] { read_ahead(); });
}

VolumeCache::~VolumeCache() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        queue_.clear();
    }
    asked_.notify_all();
    for (std::thread& each : threads_)
        each.join();
}

std::uint64_t VolumeCache::kept_bytes() const {
    const std::lock_guard lock(mutex_);
    return order_.size() * piece_bytes_;
}

Status VolumeCache::read(std::uint64_t offset_bytes, MutableByteSpan into) {
    const std::uint64_t size = volume_->size_bytes();
    if (offset_bytes > size || into.size() > size - offset_bytes)
        return volume_->read(offset_bytes, into);  // says what is wrong with it
    if (into.empty()) return {};
    follow(offset_bytes, into.size());
    const std::uint64_t end = offset_bytes + into.size();
    for (std::uint64_t at = offset_bytes; at < end;) {
        const Piece piece = at / piece_bytes_;
        const std::uint64_t stop = std::min(end, (piece + 1) * piece_bytes_);
        const MutableByteSpan out = into.subspan(at - offset_bytes, stop - at);
        if (const Bytes bytes = get(piece, (end - 1) / piece_bytes_)) {
            std::memcpy(out.data(), bytes->data() + at % piece_bytes_, out.size());
        } else {
            TRY_STATUS(volume_->read(at, out));
        }
        at = stop;
    }
    return {};
}

// --- pieces -------------------------------------------------------------------------------------

std::uint64_t VolumeCache::bytes_of(Piece piece) const {
    return std::min(piece_bytes_, volume_->size_bytes() - piece * piece_bytes_);
}

VolumeCache::Bytes VolumeCache::read_piece(Piece piece) {
    auto bytes = std::make_shared<std::vector<std::byte>>(bytes_of(piece));
    if (!volume_->read(piece * piece_bytes_, *bytes)) return nullptr;
    return bytes;
}

std::vector<VolumeCache::Bytes> VolumeCache::read_pieces(Piece first, Piece end) {
    std::vector<Bytes> pieces;
    if (end - first > 1) {
        // Neighbours lie one behind the other: one read.
        std::vector<std::byte> all((end - 1 - first) * piece_bytes_ + bytes_of(end - 1));
        if (volume_->read(first * piece_bytes_, all)) {
            for (Piece each = first; each < end; ++each) {
                const auto from =
                    all.begin() + static_cast<std::ptrdiff_t>((each - first) * piece_bytes_);
                pieces.push_back(std::make_shared<std::vector<std::byte>>(
                    from, from + static_cast<std::ptrdiff_t>(bytes_of(each))));
            }
            return pieces;
        }
    }
    for (Piece each = first; each < end; ++each)
        pieces.push_back(read_piece(each));
    return pieces;
}

// The piece, with those behind it that nobody has, up to `last`. Null: it cannot be read whole.
VolumeCache::Bytes VolumeCache::get(Piece piece, Piece last) {
    std::unique_lock lock(mutex_);
    for (auto found = slots_.find(piece); found != slots_.end(); found = slots_.find(piece)) {
        if (found->second.bytes) {
            order_.splice(order_.end(), order_, found->second.place);
            return found->second.bytes;
        }
        changed_.wait(lock);
    }
    Piece end = piece;
    while (end <= last && end - piece < kRunPieces && slots_.try_emplace(end).second)
        ++end;
    lock.unlock();
    const std::vector<Bytes> pieces = read_pieces(piece, end);
    lock.lock();
    for (Piece each = piece; each < end; ++each) {
        const Bytes& bytes = pieces[each - piece];
        if (bytes) {
            slots_[each] = {bytes, order_.insert(order_.end(), each)};
        } else {
            slots_.erase(each);
        }
    }
    trim();
    changed_.notify_all();
    return pieces.front();
}

void VolumeCache::trim() {
    while (!order_.empty() && order_.size() * piece_bytes_ > options_.cache_bytes) {
        slots_.erase(order_.front());
        order_.pop_front();
    }
}

// --- reading ahead ------------------------------------------------------------------------------

// Requests of one reader come through several threads: a little out of order is still in order.
void VolumeCache::follow(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
    if (threads_.empty()) return;
    const std::lock_guard lock(mutex_);
    ++reads_;
    const auto near = [&](const Stream& each) {
        return each.reads > 0 && offset_bytes + kStreamSlack >= each.next &&
               offset_bytes <= each.next + kStreamSlack;
    };
    const auto found = std::ranges::find_if(streams_, near);
    const std::uint64_t end = offset_bytes + length_bytes;
    if (found == streams_.end()) {
        *std::ranges::min_element(streams_, {}, &Stream::used) = {
            .next = end, .ahead = end, .reads = 1, .used = reads_};
        return;
    }
    found->used = reads_;
    if (end <= found->next) return;
    found->next = end;
    if (++found->reads >= kStreamReads) ask_ahead(*found);
}

void VolumeCache::ask_ahead(Stream& stream) {
    const std::uint64_t size = volume_->size_bytes();
    const std::uint64_t wanted = std::min(size, stream.next + options_.ahead_bytes);
    stream.ahead = std::max(stream.ahead, stream.next);
    const bool half_is_left = stream.ahead > stream.next + options_.ahead_bytes / 2;
    if (stream.ahead >= wanted || half_is_left) return;
    const Piece end = (wanted - 1) / piece_bytes_ + 1;
    for (Piece first = stream.ahead / piece_bytes_; first < end; first += kRunPieces) {
        if (queue_.size() >= kQueueMax) break;
        queue_.push_back({first, std::min(first + kRunPieces, end) - 1});
    }
    stream.ahead = wanted;
    asked_.notify_all();
}

void VolumeCache::read_ahead() {
    std::unique_lock lock(mutex_);
    for (;;) {
        asked_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
        if (stopping_) return;
        const Range range = queue_.front();
        queue_.pop_front();
        lock.unlock();
        for (Piece piece = range.first; piece <= range.last; ++piece)
            get(piece, range.last);
        lock.lock();
    }
}

}  // namespace towline
