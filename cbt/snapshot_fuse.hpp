// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cbt/snapshot.hpp"

namespace towline {

class FuseTracker;

// Snapshots of tracked mounts: `snapshot-N` beside `volume`. Their daemon keeps them; they end with
// it.
class FuseSnapshots : public SnapshotProvider {
  public:
    explicit FuseSnapshots(FuseTracker& tracker) : tracker_(tracker) {}

    SnapshotKind kind() const override { return SnapshotKind::kFuse; }
    Status usable_for(const Volume& volume) override;
    Result<std::vector<SnapshotImage>> create(std::span<const Volume* const> volumes,
                                              const SnapshotRequest& request,
                                              Duration drain_max) override;
    Result<SnapshotStatus> status(const std::string& id) override;
    Status remove(const std::string& id) override;
    Result<std::vector<SnapshotStatus>> list() override;

    // The image of a snapshot that was taken at the end of an epoch.
    static SnapshotImage image_of(const Uuid& tracker, std::uint64_t sequence,
                                  std::uint64_t volume_bytes,
                                  const std::filesystem::path& mountpoint);

  private:
    FuseTracker& tracker_;
};

}  // namespace towline
