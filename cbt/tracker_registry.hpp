// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "cbt/tracker.hpp"

namespace towline {

// Where what outlives a process is found on this host. A test has its own.
struct TrackerPlaces {
    std::filesystem::path run_folder = "/run/towline";         // sockets; gone after a reboot
    std::filesystem::path state_folder = "/var/lib/towline";   // what survives one
    std::filesystem::path bpf_folder = "/sys/fs/bpf/towline";  // pinned programs and maps
};

// The tracker of this kind on this host. kUnsupported: this host or build has none, and the text
// says why and what would help.
Result<std::unique_ptr<Tracker>> open_tracker(TrackerKind kind, const TrackerPlaces& places = {});

// A provider that is no tracker. For the others: Tracker::snapshots().
Result<std::unique_ptr<SnapshotProvider>> open_snapshots(SnapshotKind kind,
                                                         const TrackerPlaces& places = {});

}  // namespace towline
