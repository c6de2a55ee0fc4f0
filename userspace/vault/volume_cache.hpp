// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <condition_variable>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "userspace/vault/volume_reader.hpp"

namespace towline {

// A volume of a point for whoever reads it piecemeal: what was decoded is kept, as much as is
// allowed, and who reads in order finds decoded what comes next. Safe to use from several threads.
class VolumeCache {
  public:
    struct Options {
        std::uint64_t cache_bytes = std::uint64_t{64} << 20;
        std::uint64_t ahead_bytes = std::uint64_t{4} << 20;
        unsigned ahead_threads = 2;
    };

    VolumeCache(std::shared_ptr<VolumeReader> volume, Options options);
    ~VolumeCache();
    VolumeCache(const VolumeCache&) = delete;
    VolumeCache& operator=(const VolumeCache&) = delete;

    VolumeReader& volume() { return *volume_; }
    // Any range within the volume. An error is of these bytes, not of their neighbours.
    Status read(std::uint64_t offset_bytes, MutableByteSpan into);

    std::uint64_t kept_bytes() const;

  private:
    using Piece = std::uint64_t;  // its number
    using Bytes = std::shared_ptr<const std::vector<std::byte>>;
    struct Slot {
        Bytes bytes;  // null: somebody is reading it
        std::list<Piece>::iterator place;
    };
    // Somebody who reads in order.
    struct Stream {
        std::uint64_t next = 0;   // where the last read ended
        std::uint64_t ahead = 0;  // up to where more was asked for
        unsigned reads = 0;
        std::uint64_t used = 0;  // when, in reads
    };
    struct Range {
        Piece first;
        Piece last;
    };
    static constexpr std::uint64_t kPieceBytes = std::uint64_t{64} << 10;
    static constexpr Piece kRunPieces = 16;
    static constexpr std::size_t kStreams = 8;
    static constexpr std::uint64_t kStreamSlack = std::uint64_t{1} << 20;
    static constexpr unsigned kStreamReads = 3;
    static constexpr std::size_t kQueueMax = 32;

    Bytes get(Piece piece, Piece last);
    std::vector<Bytes> read_pieces(Piece first, Piece end);
    Bytes read_piece(Piece piece);
    std::uint64_t bytes_of(Piece piece) const;
    void trim();
    void follow(std::uint64_t offset_bytes, std::uint64_t length_bytes);
    void ask_ahead(Stream& stream);
    void read_ahead();

    std::shared_ptr<VolumeReader> volume_;
    const Options options_;
    const std::uint64_t piece_bytes_;  // of whole blocks

    mutable std::mutex mutex_;         // over all below but the threads
    std::condition_variable changed_;  // a slot
    std::map<Piece, Slot> slots_;
    std::list<Piece> order_;  // of those that are read, the least used first
    std::array<Stream, kStreams> streams_{};
    std::uint64_t reads_ = 0;
    std::condition_variable asked_;
    std::deque<Range> queue_;  // a full one is not waited for
    bool stopping_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace towline
