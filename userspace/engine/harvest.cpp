// SPDX-License-Identifier: Apache-2.0
// One direction only: marks and doubts are added until a run takes them over. In doubt (another
// geometry, epochs that somebody else committed) it vouches for less, which costs a comparison.

#include "userspace/engine/harvest.hpp"

#include <algorithm>

namespace towline {

namespace {

constexpr std::uint32_t kForm = 1;

}  // namespace

Trust worse(Trust one, Trust other) {
    return std::max(one, other);
}

void absorb(Harvest& harvest, const ChangeSet& set) {
    if (harvest.tracker != set.tracker) return;
    if (set.after > harvest.sequence) {
        if (harvest.doubt == Harvest::Doubt::kNone) harvest.doubt = Harvest::Doubt::kHole;
        harvest.trust = Trust::kUnknown;
    }
    harvest.trust = worse(harvest.trust, set.trust);
    harvest.reasons.add(set.reasons);
    harvest.sequence = std::max(harvest.sequence, set.sequence);
    if (set.trust == Trust::kUnknown) return;
    const ChangeMap& changes = set.changes;
    if (harvest.changes.block_count() == 0) {
        harvest.changes = changes;
        return;
    }
    harvest.changes = harvest.changes.resampled(changes.volume_bytes(), changes.block_bytes());
    harvest.changes.merge(changes);
}

void clear(Harvest& harvest) {
    harvest.trust = Trust::kExact;
    harvest.reasons = {};
    harvest.doubt = Harvest::Doubt::kNone;
    harvest.changes = {};
}

std::vector<std::byte> Harvest::save() const {
    ByteWriter writer;
    writer.put(kForm).put(static_cast<std::uint32_t>(trust)).put(reasons.bits());
    writer.put(static_cast<std::uint32_t>(doubt));
    writer.put_bytes(target.bytes).put_bytes(tracker.bytes).put(sequence);
    writer.put_bytes(changes.save());
    return writer.take();
}

Result<Harvest> Harvest::load(ByteSpan saved) {
    ByteReader reader(saved);
    if (reader.get<std::uint32_t>() != kForm)
        return fail(Code::kCorrupt, "a harvest has a form that this Towline does not know");
    Harvest harvest;
    const auto trust = reader.get<std::uint32_t>();
    harvest.reasons = ChangeReasons::of(reader.get<std::uint32_t>());
    const auto doubt = reader.get<std::uint32_t>();
    std::ranges::copy(reader.get_bytes(16), harvest.target.bytes.begin());
    std::ranges::copy(reader.get_bytes(16), harvest.tracker.bytes.begin());
    harvest.sequence = reader.get<std::uint64_t>();
    const bool known = trust >= static_cast<std::uint32_t>(Trust::kExact) &&
                       trust <= static_cast<std::uint32_t>(Trust::kUnknown) &&
                       doubt <= static_cast<std::uint32_t>(Doubt::kAudit);
    if (reader.bad() || !known) return fail(Code::kCorrupt, "a harvest is cut off or damaged");
    harvest.trust = static_cast<Trust>(trust);
    harvest.doubt = static_cast<Doubt>(doubt);
    harvest.changes = TRY(ChangeMap::load(reader.get_bytes(reader.rest_bytes())));
    return harvest;
}

}  // namespace towline
