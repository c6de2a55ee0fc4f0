// SPDX-License-Identifier: Apache-2.0
// A pin is a lock that ends with its process, not an object that outlives it: a run that died has
// acknowledged nothing of what it found, and needs nothing of it again. The collector's side of a
// lock is its tombstone: while it has the shard alone nobody finds anything there, and it looks at
// the points once more behind it (collector.cpp).

#include "userspace/vault/segment_pins.hpp"

#include <cstdio>
#include <cstring>

namespace towline {

std::size_t SegmentPins::shard_of(const SegmentKey& segment) {
    // Writers are drawn; serials rise.
    std::uint64_t drawn = 0;
    std::memcpy(&drawn, segment.writer.bytes.data(), sizeof drawn);
    return static_cast<std::size_t>((drawn + segment.serial) % kShards);
}

Result<std::unique_ptr<ObjectHold>> SegmentPins::hold(const Vault& vault, std::size_t shard,
                                                      HoldKind kind) {
    char name[64];
    std::snprintf(name, sizeof name, "collect/%s/%02zx", vault_format::kPoolSeries, shard);
    return vault.store().hold(name, kind);
}

bool SegmentPins::take(const SegmentKey& segment) {
    const std::size_t shard = shard_of(segment);
    if (held_.contains(shard)) return true;
    auto held = hold(*vault_, shard, HoldKind::kShared);
    if (!held || !(*held)->keeps_others_out()) return false;
    held_.emplace(shard, std::move(*held));
    return true;
}

}  // namespace towline
