// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "io/clock.hpp"
#include "io/volume.hpp"
#include "userspace/engine/source_store.hpp"
#include "userspace/engine/target_memory_file.hpp"

namespace towline {

// A source's memory as files: sources/KEY.source names the volume (by identity, so that another
// volume under the same path is another source); sources/UUID/TARGET.memory is of one target, with
// what is pending for it; TARGET.harvest is what trackers saw for it since its last run began.
class FileSourceStore final : public SourceStore {
  public:
    // Draws the source's uuid with the first run. A dry run writes nothing.
    static Result<FileSourceStore> open(const std::filesystem::path& state_folder,
                                        const VolumeIdentity& identity, bool read_only);

    const Uuid& source() const { return source_; }
    // Not there yet after a dry run that is the source's first.
    const std::filesystem::path& folder() const { return folder_; }
    // One run at a time from this source to what the user calls this target. kBusy when one is
    // going on.
    Result<Fd> lock(const std::string& target_text) const;

    // Held from a freeze until its epoch is noted for every target: runs to other targets write to
    // the same harvests. Waits for `wait`, then kBusy.
    Result<Fd> lock_tracking(Duration wait) const;

    Result<MemoryHold> hold(const Uuid& target) override;
    Result<std::optional<TargetMemory>> load(const Uuid& target) override;
    Result<std::optional<ChangeMap>> pending(const Uuid& target) override;
    Status save(const TargetMemory& memory) override;
    Status save_begun(const TargetMemory& memory, const ChangeMap& pending) override;
    Status save_sealed(const TargetMemory& memory) override;
    Result<std::vector<Harvest>> harvests() override;
    Status save_harvest(const Harvest& harvest) override;

  private:
    FileSourceStore() = default;
    TargetMemoryFile file_of(const Uuid& target) const;

    std::filesystem::path folder_;
    Uuid source_;
    std::weak_ptr<const Fd> held_;
    Uuid held_target_;
};

}  // namespace towline
