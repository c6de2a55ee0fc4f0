// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cbt/kmod_control.hpp"
#include "cbt/snapshot_kmod.hpp"
#include "cbt/tracker.hpp"

namespace towline {

// The kernel module (docs/kmod.md): live block devices, epochs of groups, images in the same gate.
class KmodTracker final : public Tracker {
  public:
    static Result<std::unique_ptr<Tracker>> open();
    explicit KmodTracker(KmodControl control)
        : control_(std::move(control)), snapshots_(control_, *this) {}
    KmodTracker(const KmodTracker&) = delete;
    KmodTracker& operator=(const KmodTracker&) = delete;

    TrackerKind kind() const override { return TrackerKind::kKmod; }
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

  private:
    Result<towline_status> kernel_status(const Uuid& tracker) const;
    Result<std::vector<Uuid>> uuids() const;
    Result<std::vector<Extent>> log_ranges(const Uuid& tracker) const;
    Result<ChangeSet> change_set(const towline_epoch& epoch) const;
    Status read_map(const towline_epoch& epoch, ChangeMap& into) const;

    KmodControl control_;
    KmodSnapshots snapshots_;
};

}  // namespace towline
