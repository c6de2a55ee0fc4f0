// SPDX-License-Identifier: Apache-2.0
// A merge of two ordered streams. A block that only one side delivered differs: a lying or shorter
// peer can make us send more, never less.

#include "userspace/engine/scan_compare.hpp"

#include <algorithm>

namespace towline {

bool ScanCompare::add(Side& side, BlockRun run, std::span<const Hash128> hashes) {
    const bool fits = run.count > 0 && run.first >= side.next_block &&
                      run.first < differing_.block_count() &&
                      run.count <= differing_.block_count() - run.first &&
                      (hashes.empty() || hashes.size() == run.count) && !side.ended;
    if (!fits) return false;
    side.next_block = run.end();
    side.hashes_waiting += hashes.size();
    side.pieces.push_back({.run = run, .hashes = {hashes.begin(), hashes.end()}});
    advance();
    return true;
}

void ScanCompare::theirs_ended() {
    theirs_.ended = true;
    advance();
}

void ScanCompare::consume(Side& side, std::uint64_t count) {
    side.used += count;
    if (side.used < side.pieces.front().run.count) return;
    side.hashes_waiting -= side.pieces.front().hashes.size();
    side.pieces.pop_front();
    side.used = 0;
}

void ScanCompare::compare_one(std::uint64_t block, Hash128 ours, Hash128 theirs) {
    const bool their_data = !theirs.is_zero_block();
    their_data_ += their_data;
    if (ours == theirs) return;
    their_lost_ += their_data;
    differing_.mark_blocks({.first = block, .count = 1});
}

void ScanCompare::advance() {
    while (!ours_.pieces.empty() && (!theirs_.pieces.empty() || theirs_.ended)) {
        const Piece& mine = ours_.pieces.front();
        const std::uint64_t at = mine.run.first + ours_.used;
        const std::uint64_t mine_left = mine.run.count - ours_.used;
        if (theirs_.pieces.empty()) {
            differing_.mark_blocks({.first = at, .count = mine_left});
            consume(ours_, mine_left);
            continue;
        }
        const Piece& other = theirs_.pieces.front();
        const std::uint64_t other_at = other.run.first + theirs_.used;
        if (other_at < at) {
            // Blocks that we did not ask about.
            consume(theirs_, std::min(other.run.end(), at) - other_at);
            continue;
        }
        if (other_at > at) {
            const std::uint64_t alone = std::min(mine_left, other_at - at);
            differing_.mark_blocks({.first = at, .count = alone});
            consume(ours_, alone);
            continue;
        }
        const std::uint64_t count = std::min(mine_left, other.run.count - theirs_.used);
        if (!mine.hashes.empty() || !other.hashes.empty()) {
            for (std::uint64_t i = 0; i < count; ++i) {
                compare_one(at + i, mine.hash_at(ours_.used + i), other.hash_at(theirs_.used + i));
            }
        }
        compared_ += count;
        consume(ours_, count);
        consume(theirs_, count);
    }
}

}  // namespace towline
