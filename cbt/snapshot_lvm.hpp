// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>

#include "cbt/lvm_report.hpp"
#include "cbt/snapshot.hpp"

namespace towline {

class LvmWatch;

// How much a thick snapshot of a volume of this size is given where nobody says.
std::uint64_t lvm_store_bytes(std::uint64_t volume_bytes, std::uint64_t group_free_bytes);

// Snapshots of logical volumes by LVM, thin and thick (docs/lvm.md). They are named "GROUP/NAME",
// and known by the tag `towline`.
class LvmSnapshots final : public SnapshotProvider {
  public:
    LvmSnapshots();
    ~LvmSnapshots() override;

    SnapshotKind kind() const override { return SnapshotKind::kLvm; }
    bool freezes_filesystem() const override { return true; }
    Status usable_for(const Volume& volume) override;
    std::string only_by_name(const Volume& volume) override;
    Result<std::vector<SnapshotImage>> create(std::span<const Volume* const> volumes,
                                              const SnapshotRequest& request,
                                              Duration drain_max) override;
    Result<SnapshotStatus> status(const std::string& id) override;
    Status remove(const std::string& id) override;
    Result<std::vector<SnapshotStatus>> list() override;

  private:
    // An image that this object made, for as long as it stands.
    struct Made {
        LogicalVolume volume;
        std::unique_ptr<LvmWatch> watch;
    };
    std::map<std::string, Made> made_;
};

}  // namespace towline
