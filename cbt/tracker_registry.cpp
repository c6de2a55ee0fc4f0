// SPDX-License-Identifier: Apache-2.0
// The one place that knows every kind. A kind that this build lacks answers as one that this host
// lacks: whoever chooses goes on to the next, and says why.

#include "cbt/tracker_registry.hpp"

#include <array>

#include "cbt/snapshot_lvm.hpp"
#include "cbt/tracker_bpf.hpp"
#include "cbt/tracker_fuse.hpp"
#include "cbt/tracker_kmod.hpp"

namespace towline {

namespace {

constexpr std::array kKinds{TrackerKind::kKmod, TrackerKind::kFuse, TrackerKind::kBpf};

}  // namespace

std::string_view tracker_kind_name(TrackerKind kind) {
    switch (kind) {
        case TrackerKind::kKmod:
            return "kmod";
        case TrackerKind::kFuse:
            return "fuse";
        case TrackerKind::kBpf:
            break;
    }
    return "bpf";
}

std::optional<TrackerKind> tracker_kind_of(std::string_view name) {
    for (const TrackerKind kind : kKinds) {
        if (tracker_kind_name(kind) == name) return kind;
    }
    return std::nullopt;
}

std::string_view snapshot_kind_name(SnapshotKind kind) {
    switch (kind) {
        case SnapshotKind::kKmod:
            return "kmod";
        case SnapshotKind::kFuse:
            return "fuse";
        case SnapshotKind::kLvm:
            break;
    }
    return "lvm";
}

Result<std::unique_ptr<Tracker>> open_tracker(TrackerKind kind, const TrackerPlaces& places) {
#ifdef TOWLINE_BPF
    if (kind == TrackerKind::kBpf) return open_bpf_tracker(places);
#endif
    if (kind == TrackerKind::kKmod) return KmodTracker::open();
    if (kind == TrackerKind::kFuse) return std::make_unique<FuseTracker>(places.run_folder);
    return fail(Code::kUnsupported, "this build of Towline has no " +
                                        std::string(tracker_kind_name(kind)) + " tracker");
}

Result<std::unique_ptr<SnapshotProvider>> open_snapshots(SnapshotKind kind, const TrackerPlaces&) {
    if (kind == SnapshotKind::kLvm) return std::make_unique<LvmSnapshots>();
    return fail(Code::kUnsupported, "this build of Towline makes no " +
                                        std::string(snapshot_kind_name(kind)) +
                                        " snapshots of its own");
}

}  // namespace towline
