// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "cbt/change_map.hpp"
#include "userspace/engine/harvest.hpp"
#include "userspace/engine/run_decision.hpp"

namespace towline {

// What a source durably remembers of each of its targets. Every call blocks until it is on stable
// storage. Real: files below the state folder. In the simulator: memory.
class SourceStore {
  public:
    virtual ~SourceStore() = default;

    virtual Result<std::optional<TargetMemory>> load(const Uuid& target) = 0;
    virtual Status save(const TargetMemory& memory) = 0;

    // The changes of all runs that were begun and are not known to be sealed. Nothing: there are
    // none.
    virtual Result<std::optional<ChangeMap>> pending(const Uuid& target) = 0;
    virtual Status save_pending(const Uuid& target, const ChangeMap& changes) = 0;
    // May be there again after a power cut, too much and never too little: it is sent once more.
    virtual Status drop_pending(const Uuid& target) = 0;

    // Of all targets of this source. One that can't be read is left out, and vouches for nothing.
    virtual Result<std::vector<Harvest>> harvests() = 0;
    virtual Status save_harvest(const Harvest& harvest) = 0;
    // Harvests are of one volume, whichever runs it is in; all else is of the run's first one. This
    // is what is remembered of the volume at this place of the run.
    virtual SourceStore& of_volume(std::size_t /*place*/) { return *this; }
};

}  // namespace towline
