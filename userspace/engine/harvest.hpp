// SPDX-License-Identifier: Apache-2.0
#pragma once

// What trackers saw, kept for each target apart until a run to it takes it over (rule 1): pure.

#include <vector>

#include "cbt/change_set.hpp"

namespace towline {

// Invariant, for a target whose base was made under the same tracker: what changed since that base
// is marked in its pending map, or here, or in an epoch of the tracker behind `sequence`. A run
// that is begun moves it to the pending map; a seal drops the pending map and nothing of this.
struct Harvest {
    // Why it vouches for nothing, beside what the tracker itself says.
    enum class Doubt : std::uint32_t {
        kNone = 0,
        kFresh = 1,  // it began after the target's base: the run that takes it over compares
        kHole = 2,   // epochs between its own and the tracker's were taken by somebody else
        kAudit = 3,  // a block that the tracker held to be unchanged was found changed
    };

    Uuid target;
    Uuid tracker;                // whose epochs these are; nil: of none, and it vouches for nothing
    std::uint64_t sequence = 0;  // the newest epoch that is in it, or was
    Trust trust = Trust::kExact;
    ChangeReasons reasons;
    Doubt doubt = Doubt::kNone;
    ChangeMap changes;  // without a geometry: none
    bool operator==(const Harvest&) const = default;

    std::vector<std::byte> save() const;
    static Result<Harvest> load(ByteSpan saved);
};

Trust worse(Trust one, Trust other);

// ORs a frozen epoch in. Of another tracker's it takes nothing.
void absorb(Harvest& harvest, const ChangeSet& set);

// A run took it over: what comes next is marked anew.
void clear(Harvest& harvest);

}  // namespace towline
