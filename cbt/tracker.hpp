// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cbt/change_set.hpp"
#include "cbt/snapshot.hpp"
#include "io/clock.hpp"
#include "io/volume.hpp"

namespace towline {

// What can know which blocks of a live volume were written, best first. `scan`, which compares both
// ends, is no tracker: it is what a run does without one.
enum class TrackerKind { kKmod, kFuse, kBpf };

std::string_view tracker_kind_name(TrackerKind kind);
std::optional<TrackerKind> tracker_kind_of(std::string_view name);

struct AttachRequest {
    std::uint32_t block_bytes = 0;  // power of two, 4 KiB to 1 MiB; 0: by the volume's size
    // Where the tracker keeps what survives a crash; empty: by its own default, which may be
    // nowhere (then a crash costs a comparison).
    std::filesystem::path log;
    Duration drain_max = std::chrono::seconds(10);  // for writes that were begun before
};

struct TrackerStatus {
    Uuid tracker;
    TrackerKind kind{};
    std::string volume;  // as people name it: "/dev/vda1", the path of an image
    std::uint64_t volume_bytes = 0;
    std::uint32_t block_bytes = 0;
    std::uint64_t sequence = 0;            // of the present epoch
    std::uint64_t sequence_frozen = 0;     // 0: none is
    std::uint64_t sequence_committed = 0;  // 0: none was
    // Of the present epoch, should it end now. Where only the freeze finds out: what is known.
    Trust trust = Trust::kExact;
    ChangeReasons reasons;
    bool gone = false;              // the volume is not there any more, or another has its name
    bool durable = false;           // a crash costs a comparison of hot regions, not of everything
    std::uint64_t writes_seen = 0;  // tells whether anything was written between two looks
    std::uint64_t memory_bytes = 0;
};

struct FreezeRequest {
    // Volumes of this tracker, 1 to 64, by the uuids that attaching gave. An upper device before
    // those that it stands on.
    std::vector<Uuid> trackers;
    // With it an image of each at the very moment: one gate for both, so that the image holds
    // exactly the writes of the epochs up to the frozen ones (rule 4). kUnsupported where the
    // tracker takes none: then freeze first, and make the image after.
    std::optional<SnapshotRequest> snapshot;
    // How long new writes may be held back until those in flight are complete. Beyond it kTimeout:
    // nothing is frozen, no image is left, all writes go on. Only waited for where there is a
    // snapshot or more than one volume: else a write in flight is marked in both epochs.
    Duration drain_max = std::chrono::seconds(1);
};

struct FrozenGroup {
    std::vector<ChangeSet> sets;        // in the order of the request
    std::vector<SnapshotImage> images;  // the same, or none
    Duration held{};                    // how long writes were held back
};

// One kind of tracker on this host, with all the volumes that it tracks. What it knows lives
// elsewhere (a kernel module, pinned maps, a daemon) and outlives this object and its process;
// several processes may each have such an object at once. An object is used by one thread. Calls
// block, for no longer than the Duration that they are given and a moment more.
//
//     present ── freeze_epoch ──► frozen ── commit ──► dropped
//        ▲                          │
//        └──────── give_back ───────┘
//
// A volume has at most one frozen epoch. Marks are dropped by commit alone. A freeze over a frozen
// epoch ORs the two, and the set says so (kMerged); so a consumer that died between two calls has
// lost nothing.
//
// Errors: a uuid that is not (or no longer) tracked is kInvalid; a volume that went away kIo with
// ENODEV; a tracker that is not there at all fails in open_tracker.
class Tracker {
  public:
    virtual ~Tracker() = default;

    virtual TrackerKind kind() const = 0;
    // Whether this volume is or could be attached. The Error's text is the reason, for people, and
    // says what would make it possible.
    virtual Status usable_for(const Volume& volume) = 0;

    // Begins tracking; the uuid is new, unless the tracker kept the volume's marks in its log over
    // a restart and vouches for them (trust says how far). kBusy when it is attached already.
    virtual Result<Uuid> attach(const Volume& volume, const AttachRequest& request) = 0;
    // The marks are gone. kBusy while a snapshot of it stands.
    virtual Status detach(const Uuid& tracker) = 0;

    // The tracking of this very volume, under whatever name it was opened; nothing: it has none.
    virtual Result<std::optional<TrackerStatus>> find(const Volume& volume) = 0;
    virtual Result<TrackerStatus> status(const Uuid& tracker) = 0;
    virtual Result<std::vector<TrackerStatus>> list() = 0;

    // All or none of the group. `after` of each set is read with the freeze, so that who compares
    // it with what it holds sees what another consumer took.
    virtual Result<FrozenGroup> freeze_epoch(const FreezeRequest& request) = 0;
    // The end of a frozen epoch; each can be repeated, and kRefused says that the opposite was
    // done, or that the epoch was merged into a later one.
    virtual Status commit(const Uuid& tracker, std::uint64_t sequence) = 0;
    virtual Status give_back(const Uuid& tracker, std::uint64_t sequence) = 0;

    // The images that its freezes make; nullptr where it makes none. Lives as long as the tracker.
    virtual SnapshotProvider* snapshots() = 0;
};

}  // namespace towline
