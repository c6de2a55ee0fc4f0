// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "cbt/change_map.hpp"
#include "io/fd.hpp"
#include "userspace/engine/harvest.hpp"
#include "userspace/engine/run_decision.hpp"

namespace towline {

// As long as it lives no other process changes what is remembered of the target.
using MemoryHold = std::shared_ptr<const Fd>;

// What a source durably remembers of each of its targets. Every call but one blocks until it is on
// stable storage. Real: files below the state folder. In the simulator: memory.
class SourceStore {
  public:
    virtual ~SourceStore() = default;

    // Over all that is read, and what is written upon it: runs to one target go on at the same time
    // where it has two names. Several holds of one store are one. kBusy when another process does
    // not let go of it; one that dies does.
    virtual Result<MemoryHold> hold(const Uuid& /*target*/) { return MemoryHold(); }

    virtual Result<std::optional<TargetMemory>> load(const Uuid& target) = 0;
    // The changes of all runs that were begun and are not known to be sealed. Nothing: there are
    // none.
    virtual Result<std::optional<ChangeMap>> pending(const Uuid& target) = 0;

    // What is pending stays.
    virtual Status save(const TargetMemory& memory) = 0;
    // Both or neither.
    virtual Status save_begun(const TargetMemory& memory, const ChangeMap& pending) = 0;
    // Nothing is pending any more. A power cut may undo it, as a whole: the target is asked then.
    virtual Status save_sealed(const TargetMemory& memory) = 0;

    // Of all targets of this source. One that can't be read is left out, and vouches for nothing.
    virtual Result<std::vector<Harvest>> harvests() = 0;
    virtual Status save_harvest(const Harvest& harvest) = 0;
    // Harvests are of one volume, whichever runs it is in; all else is of the run's first one. This
    // is what is remembered of the volume at this place of the run.
    virtual SourceStore& of_volume(std::size_t /*place*/) { return *this; }
};

}  // namespace towline
