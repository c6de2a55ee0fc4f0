// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "userspace/engine/harvest.hpp"
#include "userspace/engine/run_decision.hpp"
#include "userspace/engine/source_store.hpp"
#include "userspace/engine/volume_layout.hpp"

namespace towline {

// What a source asks for: the decision's request, and what a run needs beside it.
struct SourceRequest {
    RunRequest run;
    VolumeLayout layout{};        // empty: the run's source, alone
    std::vector<Extent> extents;  // kExtents: normalized
    std::uint32_t block_bytes = 64 * 1024;
    bool verify = false;
    bool dry_run = false;
    // Blocks that a tracker holds to be unchanged and that are compared all the same; 0: none.
    std::uint32_t audit_blocks = 0;
    // All of them are, one part after the other, once in this time; 0: no such audit.
    Duration audit_period{};
    std::uint64_t audit_part_max = UINT64_MAX;  // blocks of it in one run
    std::int64_t now_ms = 0;                    // on the wall
    // What is free is taken for zeros: blocks that the tracker holds to be unchanged may differ.
    bool free_left_out = false;
    // The tracker's frozen epochs, one a volume, or none; `run.tracked` follows from them and is
    // not to be filled in.
    std::vector<ChangeSet> changes;
    // Names and secrets; the simulator draws its own, so that a seed replays.
    std::function<Uuid()> draw = Uuid::random;
};

// A run that is decided, and what is to be noted of it before the target hears of it.
struct PreparedRun {
    RunDecision decision;
    BeginMessage begin;
    TargetMemory memory;
    std::optional<TargetMemory> kept;  // as it was remembered when the run last looked
    // What the plan took over of them, one a volume; of a run with a tracker, where there are any.
    std::vector<std::optional<Harvest>> harvests;
    std::vector<Uuid> trackers;  // the same
    ChangeMap audit;  // blocks outside of the plan that must be equal; without a geometry: none
    ChangeMap plan;   // kScan: empty until compared
    std::uint64_t changed_bytes = 0;
};

VolumeLayout layout_of(const SourceRequest& request);

// ORs a frozen epoch of a volume into what every target of this source has yet to get, and makes
// `target` one of those that get it from now on. When it returns well the tracker may drop the
// epoch (rule 1).
Status note_epoch(const ChangeSet& set, const Uuid& target, SourceStore& store);

Result<PreparedRun> plan_run(const SourceRequest& given, SourceStore& store,
                             const OpenedMessage& opened);

// Begins it durably on the source's side: from here on its changes are pending until the target has
// sealed. Not of a dry run.
Status note_run(PreparedRun& run, SourceStore& store);

// A comparison found what differs (or, for a resumed run, what must be sent again): noted as
// pending before anything of it is sent.
Status note_plan(PreparedRun& run, SourceStore& store);

// What the run came to know of the target, which is remembered whichever run is the newest by now.
Status note_known(PreparedRun& run, SourceStore& store,
                  const std::function<void(TargetMemory&)>& change);

// The target lacks what the tracker held to be unchanged: its next run compares, and so does that
// of every other target of this source. The second is for who holds the harvests' lock.
Status distrust_plan(PreparedRun& run, SourceStore& store);
Status distrust_harvests(const PreparedRun& run, SourceStore& store);

// The target has sealed: the memory moves to the new base, the pending changes go. Unless the
// newest run that is remembered is another one by now.
Status commit_run(PreparedRun& run, SourceStore& store);

}  // namespace towline
