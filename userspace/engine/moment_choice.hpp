// SPDX-License-Identifier: Apache-2.0
#pragma once

// Which tracker and which snapshot a run uses, of those that were found: pure.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cbt/tracker.hpp"

namespace towline {

struct MomentWish {
    enum class Tracker { kAuto, kScan, kNamed };
    // kConverge: rounds of the live source, and the last one while its filesystems are frozen.
    // kFrozen: that last one.
    enum class Snapshot { kAuto, kNone, kNamed, kConverge, kFrozen };
    Tracker tracker = Tracker::kAuto;
    TrackerKind tracker_kind{};  // kNamed
    Snapshot snapshot = Snapshot::kAuto;
    SnapshotKind snapshot_kind{};  // kNamed
};

// From the words of the command line and of the API: auto, scan or a tracker's name; auto, none or
// a snapshot's. Nothing: one of them is none.
std::optional<MomentWish> moment_wish(std::string_view tracker, std::string_view snapshot);

struct TrackerFinding {
    TrackerKind kind{};
    bool attached = false;
    std::string why_not;  // not attached: why it can't be; empty: it could be
};

struct SnapshotFinding {
    SnapshotKind kind{};
    std::string why_not;  // empty: it can be made
};

struct MomentFindings {
    std::vector<TrackerFinding> trackers;    // best first
    std::vector<SnapshotFinding> snapshots;  // best first
    std::string why_no_rounds;               // it can't converge; empty: it can, with a tracker
    std::optional<std::string> live;         // what writes to the source: "mounted at /srv"
};

struct MomentChoice {
    std::optional<TrackerKind> tracker;
    bool attach = false;  // it is not attached yet
    std::optional<SnapshotKind> snapshot;
    bool converge = false;
    std::string notes;  // why no better ones, and what that costs; for people
};

// `auto` attaches nothing: that outlives the run, and is for its user to ask for. A live source is
// read from a snapshot or not at all, unless the wish says otherwise. The Error names the remedy.
Result<MomentChoice> choose_moment(const MomentWish& wish, const MomentFindings& findings);

}  // namespace towline
