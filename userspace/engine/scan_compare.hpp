// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <span>
#include <vector>

#include "cbt/change_map.hpp"
#include "io/checksum.hpp"

namespace towline {

// Lays the digests of both sides beside each other. Each side delivers the same blocks in the same
// order, in pieces of its own: runs of zeros or hashes. Pure; what waits for the other side is
// bounded by the callers, who look at the waiting counts.
class ScanCompare {
  public:
    explicit ScanCompare(ChangeMap& differing) : differing_(differing) {}

    // Empty `hashes`: `run` is zeros. False: the side did not keep to the order of its blocks.
    bool ours(BlockRun run, std::span<const Hash128> hashes) { return add(ours_, run, hashes); }
    bool theirs(BlockRun run, std::span<const Hash128> hashes) { return add(theirs_, run, hashes); }
    // The other side has no more: whatever of ours is left differs.
    void theirs_ended();

    // In hashes; a piece counts as one of them, so that zeros told block by block are bounded too.
    std::size_t ours_waiting() const { return ours_.waiting(); }
    std::size_t theirs_waiting() const { return theirs_.waiting(); }
    bool drained() const { return ours_.pieces.empty() && theirs_.pieces.empty(); }

    std::uint64_t compared_blocks() const { return compared_; }
    // Of the other side's blocks that are not zeros: how many there were, and how many are not
    // ours.
    std::uint64_t their_data_blocks() const { return their_data_; }
    std::uint64_t their_lost_blocks() const { return their_lost_; }

  private:
    struct Piece {
        BlockRun run;
        std::vector<Hash128> hashes;
        Hash128 hash_at(std::uint64_t index) const {
            return hashes.empty() ? Hash128{} : hashes[index];
        }
    };
    struct Side {
        std::deque<Piece> pieces;
        std::uint64_t used = 0;  // blocks of the front piece that are done
        std::uint64_t next_block = 0;
        std::size_t hashes_waiting = 0;
        bool ended = false;
        std::size_t waiting() const { return hashes_waiting + pieces.size(); }
    };

    bool add(Side& side, BlockRun run, std::span<const Hash128> hashes);
    void advance();
    static void consume(Side& side, std::uint64_t count);
    void compare_one(std::uint64_t block, Hash128 ours, Hash128 theirs);

    ChangeMap& differing_;
    Side ours_;
    Side theirs_;
    std::uint64_t compared_ = 0;
    std::uint64_t their_data_ = 0;
    std::uint64_t their_lost_ = 0;
};

}  // namespace towline
