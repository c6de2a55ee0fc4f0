// SPDX-License-Identifier: Apache-2.0
// The hash of a block is found by how many blocks with data are before it; both readings go one
// way, so that this is counted once. Pure, of one loop thread.

#include "userspace/engine/earlier_blocks.hpp"

#include <algorithm>

namespace towline {

EarlierBlocks::EarlierBlocks(ChangeMap blocks, std::size_t kept_max)
    : blocks_(std::move(blocks)),
      with_data_(blocks_.volume_bytes(), blocks_.block_bytes()),
      kept_max_(kept_max) {}

void EarlierBlocks::note(const HashPass::Piece& piece) {
    for (std::size_t i = 0; i < piece.hashes.size(); ++i) {
        const std::uint64_t block = piece.run.first + i;
        if (piece.hashes[i].is_zero_block() || !blocks_.test(block)) continue;
        if (kept_.size() == kept_max_) kept_to_block_ = std::min(kept_to_block_, block);
        if (block >= kept_to_block_) return;
        with_data_.mark_blocks({.first = block, .count = 1});
        kept_.push_back(static_cast<std::uint32_t>(piece.hashes[i].low));
    }
}

bool EarlierBlocks::same(std::uint64_t block, Hash128 hash) {
    if (!with_data_.test(block)) return hash.is_zero_block();
    // What came again has its hash among them too.
    while (ranked_block_ < block) {
        const auto run = with_data_.next_run(ranked_block_, block - ranked_block_);
        if (!run || run->first >= block) break;
        const std::uint64_t end = std::min(run->end(), block);
        rank_ += end - run->first;
        ranked_block_ = end;
    }
    return !hash.is_zero_block() && kept_[rank_] == static_cast<std::uint32_t>(hash.low);
}

void EarlierBlocks::check(const HashPass::Piece& piece) {
    if (wrong_) return;
    // What cannot be read is left out of a reading.
    const auto due = blocks_.next_run(next_, 1);
    if (due && due->first < piece.run.first) wrong_ = due->first;
    next_ = piece.run.end();
    if (piece.hashes.empty() && !wrong_) {
        const auto lost = with_data_.next_run(piece.run.first, 1);
        if (lost && lost->first < piece.run.end()) wrong_ = lost->first;
    }
    for (std::size_t i = 0; i < piece.hashes.size() && !wrong_; ++i) {
        const std::uint64_t block = piece.run.first + i;
        if (block < kept_to_block_ && !same(block, piece.hashes[i])) wrong_ = block;
    }
}

std::optional<std::uint64_t> EarlierBlocks::first_wrong() {
    const auto due = blocks_.next_run(next_, 1);
    if (!wrong_ && due) wrong_ = due->first;
    return wrong_;
}

ChangeMap take_front(ChangeMap& map, std::size_t count_max) {
    ChangeMap front(map.volume_bytes(), map.block_bytes());
    std::uint64_t at = 0;
    while (count_max > 0) {
        const auto run = map.next_run(at, count_max);
        if (!run) break;
        front.mark_blocks(*run);
        count_max -= run->count;
        at = run->end();
    }
    map.subtract(front);
    return front;
}

}  // namespace towline
