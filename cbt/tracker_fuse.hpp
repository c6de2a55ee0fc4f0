// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cbt/fuse/control_client.hpp"
#include "cbt/snapshot_fuse.hpp"
#include "cbt/tracker.hpp"

namespace towline {

// The tracked mounts of this host (`towline mount-image`), by their control sockets. Attaching is
// mounting, so it is done there; a volume is `volume` of such a mount, a loop device over that, or
// the image itself.
class FuseTracker : public Tracker {
  public:
    explicit FuseTracker(const std::filesystem::path& run_folder)
        : sockets_(run_folder / "fuse"), snapshots_(*this) {}

    TrackerKind kind() const override { return TrackerKind::kFuse; }
    Status usable_for(const Volume& volume) override;
    Result<Uuid> attach(const Volume& volume, const AttachRequest& request) override;
    Status detach(const Uuid& tracker) override;
    Result<std::optional<TrackerStatus>> find(const Volume& volume) override;
    Result<TrackerStatus> status(const Uuid& tracker) override;
    Result<std::vector<TrackerStatus>> list() override;
    Result<FrozenGroup> freeze_epoch(const FreezeRequest& request) override;
    Status commit(const Uuid& tracker, std::uint64_t sequence) override;
    Status give_back(const Uuid& tracker, std::uint64_t sequence) override;
    SnapshotProvider* snapshots() override { return &snapshots_; }

    // --- of its snapshots
    // One request to one daemon.
    Result<FuseControl::Answer> ask(const Uuid& tracker,
                                    const fuse_control::Request& request) const;
    // What every daemon that lives says of itself.
    Result<std::vector<fuse_control::Reply>> ask_all() const;

  private:
    struct Member;
    Result<FuseControl> connect(const Uuid& tracker) const;
    Status freeze_all(std::vector<Member>& members, const FreezeRequest& request);
    Result<std::optional<fuse_control::Reply>> reply_for(const Volume& volume) const;

    std::filesystem::path sockets_;
    FuseSnapshots snapshots_;
};

}  // namespace towline
