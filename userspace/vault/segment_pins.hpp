// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>

#include "userspace/vault/liveness.hpp"

namespace towline {

// What a run holds of the segments in which it found blocks, from before it looks into one until
// its point is published. A bounded number of locks, whatever the number of segments: each is for
// those that fall into one of kShards, so one that a run does not need may be held with one that it
// does.
class SegmentPins {
  public:
    static constexpr std::size_t kShards = 256;

    explicit SegmentPins(std::shared_ptr<Vault> vault) : vault_(std::move(vault)) {}

    // False when a collector has the segment, or could not be kept out of it: nothing in it can be
    // counted on.
    bool take(const SegmentKey& segment);

    static std::size_t shard_of(const SegmentKey& segment);
    static Result<std::unique_ptr<ObjectHold>> hold(const Vault& vault, std::size_t shard,
                                                    HoldKind kind);

  private:
    std::shared_ptr<Vault> vault_;
    std::map<std::size_t, std::unique_ptr<ObjectHold>> held_;  // by shard
};

}  // namespace towline
