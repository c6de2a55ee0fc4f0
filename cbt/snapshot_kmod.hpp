// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "cbt/kmod_control.hpp"
#include "cbt/snapshot.hpp"

namespace towline {

class Tracker;

// The module's copy-on-write images, one a device at most; each is named by its device's uuid.
// Making one is a freeze of `tracker`, which is the same module and outlives this.
class KmodSnapshots final : public SnapshotProvider {
  public:
    KmodSnapshots(const KmodControl& control, Tracker& tracker)
        : control_(control), tracker_(tracker) {}

    SnapshotKind kind() const override { return SnapshotKind::kKmod; }
    Status usable_for(const Volume& volume) override;
    Result<std::vector<SnapshotImage>> create(std::span<const Volume* const> volumes,
                                              const SnapshotRequest& request,
                                              Duration drain_max) override;
    Result<SnapshotStatus> status(const std::string& id) override;
    Status remove(const std::string& id) override;
    Result<std::vector<SnapshotStatus>> list() override;

    // What is set aside for a device where the request does not say.
    static std::uint64_t default_store_bytes(std::uint64_t volume_bytes);
    static std::filesystem::path image_path(std::uint32_t index);

  private:
    const KmodControl& control_;
    Tracker& tracker_;
};

}  // namespace towline
