// SPDX-License-Identifier: Apache-2.0
// A look upwards from a volume, as target_safety's is: what is mounted, swapped to, or made of it.
// A program that writes to the device itself is not seen; a tracker sees its writes.

#include "userspace/engine/live_use.hpp"

#include <set>

#include "io/block_device.hpp"
#include "userspace/engine/system_use.hpp"

namespace towline {

namespace {

class UpwardLook {
  public:
    explicit UpwardLook(const SystemUse& system) : system_(system) {}

    std::optional<std::string> at_device(dev_t number) {
        if (!seen_.insert(number).second) return std::nullopt;
        if (const auto use = system_.mount_of_device(number)) return use->how;
        if (const auto use = system_.swap_on_device(number)) return use->how;
        for (const dev_t above : above_of(number)) {
            if (auto use = at_device(above)) return use;
        }
        return std::nullopt;
    }

    std::optional<std::string> at_file(dev_t filesystem, ino_t inode) {
        if (const auto use = system_.swap_on_file(filesystem, inode)) return use->how;
        for (const dev_t loop : attached_loops()) {
            const auto backing = loop_backing(loop);
            if (!backing || backing->device != filesystem || backing->inode != inode) continue;
            if (auto use = at_device(loop)) return *use + " by " + block_name(loop);
        }
        return std::nullopt;
    }

  private:
    static std::vector<dev_t> above_of(dev_t number) {
        std::vector<dev_t> above = partitions_of(number);
        for (const dev_t holder : holders_of(number))
            above.push_back(holder);
        return above;
    }

    const SystemUse& system_;
    std::set<dev_t> seen_;
};

}  // namespace

Result<std::optional<std::string>> live_use(const Volume& volume) {
    const SystemUse system = TRY(SystemUse::now());
    UpwardLook look(system);
    if (volume.kind() == VolumeKind::kBlockDevice) return look.at_device(volume.status().st_rdev);
    return look.at_file(volume.status().st_dev, volume.status().st_ino);
}

}  // namespace towline
