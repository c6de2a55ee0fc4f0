// SPDX-License-Identifier: Apache-2.0
// Who looks at all names cannot know beforehand how many blocks they show. So the look begins with
// every shard, and where it meets too many it gives up the last ones, which are looked at again in
// a pass of their own: memory is bounded, and a vault that is not large is looked at once.

#include "userspace/vault/pool_liveness.hpp"

#include <algorithm>
#include <array>

#include "userspace/vault/segment_pins.hpp"

namespace towline {

namespace {

constexpr std::size_t kUnsettledMin = 64;

}  // namespace

PoolLiveness::PoolLiveness(std::size_t first_shard, std::size_t blocks_max)
    : first_(first_shard),
      end_(SegmentPins::kShards),
      blocks_max_(blocks_max),
      limit_(blocks_max) {}

bool PoolLiveness::covers(const SegmentKey& segment) const {
    const std::size_t shard = SegmentPins::shard_of(segment);
    return shard >= first_ && shard < end_;
}

void PoolLiveness::add(const SegmentKey& segment, const LiveBlock& block) {
    if (!covers(segment)) return;
    Shown& shown = shown_[segment];
    shown.blocks.push_back(block);
    ++held_;
    // Of a block that many places show a few are held at most.
    if (shown.blocks.size() >= 2 * shown.settled + kUnsettledMin) settle(shown);
    peak_ = std::max(peak_, held_);
    if (held_ >= limit_) make_room();
}

void PoolLiveness::settle(Shown& shown) {
    std::vector<LiveBlock>& blocks = shown.blocks;
    held_ -= blocks.size();
    std::ranges::sort(blocks, {}, &LiveBlock::origin);
    const auto again = std::ranges::unique(blocks, {}, &LiveBlock::origin);
    blocks.erase(again.begin(), again.end());
    shown.settled = blocks.size();
    held_ += blocks.size();
}

void PoolLiveness::settle() {
    for (auto& each : shown_)
        if (each.second.settled != each.second.blocks.size()) settle(each.second);
}

// A quarter is free then, or it would have to be made again at once.
void PoolLiveness::make_room() {
    settle();
    std::array<std::size_t, SegmentPins::kShards> counts{};
    for (const auto& [key, shown] : shown_)
        counts[SegmentPins::shard_of(key)] += shown.blocks.size();
    while (held_ > blocks_max_ / 4 * 3 && end_ - first_ > 1)
        held_ -= counts[--end_];
    std::erase_if(shown_, [this](const auto& each) { return !covers(each.first); });
    const bool room = held_ <= blocks_max_ / 4 * 3;
    limit_ = room ? blocks_max_ : held_ + held_ / 2;
}

const std::vector<LiveBlock>* PoolLiveness::find(const SegmentKey& segment) const {
    const auto found = shown_.find(segment);
    return found == shown_.end() ? nullptr : &found->second.blocks;
}

Liveness::Segments PoolLiveness::take() {
    Liveness::Segments segments;
    for (auto& [key, shown] : shown_)
        segments.emplace_hint(segments.end(), key, std::move(shown.blocks));
    shown_.clear();
    held_ = 0;
    return segments;
}

}  // namespace towline
