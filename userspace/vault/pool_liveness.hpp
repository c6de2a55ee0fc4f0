// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <vector>

#include "userspace/vault/liveness.hpp"

namespace towline {

// What points show of segments that all names share, of as many of their shards as there is room
// for: from a first one up to end(), each whole. A block counts once, however many places show it.
class PoolLiveness {
  public:
    // 96 MiB, and twice that while lists grow.
    static constexpr std::size_t kBlocksMax = std::size_t{1} << 22;

    // More than `blocks_max` are held only if the first shard alone has them.
    explicit PoolLiveness(std::size_t first_shard, std::size_t blocks_max = kBlocksMax);

    void add(const SegmentKey& segment, const LiveBlock& block);
    // Behind this nothing is known.
    std::size_t end() const { return end_; }
    bool covers(const SegmentKey& segment) const;
    // By origin; null: nothing of it is shown. Only behind settle().
    const std::vector<LiveBlock>* find(const SegmentKey& segment) const;
    void settle();
    Liveness::Segments take();

    // The most that were held at once.
    std::size_t peak_blocks() const { return peak_; }

  private:
    struct Shown {
        std::vector<LiveBlock> blocks;
        std::size_t settled = 0;  // so many in front are sorted, and each once
    };

    void settle(Shown& shown);
    void make_room();

    std::size_t first_;
    std::size_t end_;
    std::size_t blocks_max_;
    std::size_t limit_;  // blocks_max_, or what the first shard alone may grow to
    std::size_t held_ = 0;
    std::size_t peak_ = 0;
    std::map<SegmentKey, Shown> shown_;
};

}  // namespace towline
