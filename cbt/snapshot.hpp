// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/clock.hpp"
#include "io/uuid.hpp"
#include "io/volume.hpp"

namespace towline {

enum class SnapshotKind { kKmod, kFuse, kLvm };

std::string_view snapshot_kind_name(SnapshotKind kind);

// What a snapshot is to be made with. Zero or empty: as its provider does by default.
struct SnapshotRequest {
    std::uint64_t store_bytes = 0;  // room for what is overwritten while it stands, of each volume
    std::filesystem::path store;    // where that is kept: a file or folder; empty: memory
    std::uint32_t chunk_bytes = 0;
    // Whose it is, for who looks for those that a dead process left. Only where images outlive
    // their tracker's word (LVM); the others know theirs by the tracker.
    std::string owner;
};

// One volume as it was at one moment: read-only, and there until it is removed.
struct SnapshotImage {
    std::string id;              // names it at its provider
    std::filesystem::path path;  // a block device or a file, to be opened as a Volume
    std::uint64_t volume_bytes = 0;
    // The epoch that ended at this very moment; nil and 0 where the provider is no tracker.
    Uuid tracker;
    std::uint64_t sequence = 0;
};

struct SnapshotStatus {
    SnapshotImage image;
    std::string owner;   // as it was requested, or empty
    std::string volume;  // what it is of, as people name it
    std::uint64_t stored_bytes = 0;
    std::uint64_t store_bytes = 0;
    // It was given up so that no write of the origin had to fail or wait; reading it gives EIO.
    bool failed = false;
    std::string why;
    std::string remedy = "--store";  // what gives the next one more room
};

// Makes images of volumes. They outlive the process that asked for them: whoever makes one removes
// it, and `list` finds those that a dead process left. The origin comes first: whatever fails here
// fails no write and holds none longer than the request says.
class SnapshotProvider {
  public:
    virtual ~SnapshotProvider() = default;

    virtual SnapshotKind kind() const = 0;
    // Whether it can make one of this volume now. The Error's text is the reason, for people, and
    // says what would make it possible.
    virtual Status usable_for(const Volume& volume) = 0;
    // Why it is not to be taken of this volume by who did not name it; empty: it may be.
    virtual std::string only_by_name(const Volume&) { return {}; }
    // Whether it freezes the filesystem right on the volume itself while it makes the image. Then
    // nobody else may have frozen it: the image would fail.
    virtual bool freezes_filesystem() const { return false; }
    // One moment for all of them, or nothing is left: kUnsupported where it has no gate for more
    // than one. Images in the order of the volumes. `drain_max`: how long writes may be held back;
    // beyond it kTimeout, and no image. A provider that is a tracker ends the volumes' epochs with
    // it, and commits nothing.
    virtual Result<std::vector<SnapshotImage>> create(std::span<const Volume* const> volumes,
                                                      const SnapshotRequest& request,
                                                      Duration drain_max) = 0;
    virtual Result<SnapshotStatus> status(const std::string& id) = 0;
    // Can be repeated: one that is not there is removed. kBusy while somebody has it open.
    virtual Status remove(const std::string& id) = 0;
    virtual Result<std::vector<SnapshotStatus>> list() = 0;
};

}  // namespace towline
