// SPDX-License-Identifier: Apache-2.0
// The point is looked at here, by the same reader that restores it; what is found decides.

#include "tools/towline/restore_growth.hpp"

#include <linux/fs.h>
#include <sys/ioctl.h>

#include <nlohmann/json.hpp>

#include "io/volume.hpp"
#include "tools/towline/progress_bar.hpp"
#include "transport/address.hpp"
#include "userspace/vault/volume_reader.hpp"

namespace towline {

namespace {

Result<GrowthPlan> plan(const GrownPoint& grown, const GrowthTarget& target) {
    const OpenPoint point = TRY(OpenPoint::open(grown.name, grown.keys));
    const std::size_t place = TRY(find_volume(point.point(), grown.volume));
    const auto volume = TRY(point.volume(place));
    const ReadVolume read = [&](std::uint64_t offset, MutableByteSpan into) {
        return volume->read(offset, into);
    };
    const VolumeFacts facts = TRY(look_at_volume(volume->size_bytes(), read));
    GrowthPlan growth = TRY(plan_growth(facts, target));
    TRY_STATUS(check_growth(growth, read));
    return growth;
}

}  // namespace

Result<GrowthPlan> plan_growth_onto(const GrownPoint& point, const std::string& device) {
    if (TRY(RemoteTarget::parse(device)).has_value() || TRY(VaultName::parse(device)).has_value())
        return fail(Code::kRefused,
                    "--grow is for a device of this host; run it where the device "
                    "is, or restore without --grow");
    const Volume volume = TRY(Volume::open(device, Access::kRead));
    if (volume.kind() != VolumeKind::kBlockDevice) {
        return fail(Code::kRefused, device +
                                        " is no device, and an image is as long as the volume "
                                        "is; for a larger one: towline export --grow SIZE");
    }
    GrowthTarget target{.name = device, .bytes = volume.size_bytes()};
    int sector_bytes = 0;
    if (::ioctl(volume.fd(), BLKSSZGET, &sector_bytes) == 0)
        target.sector_bytes = static_cast<std::uint32_t>(sector_bytes);
    return plan(point, target);
}

Result<GrowthPlan> plan_growth_to(const GrownPoint& point, const std::string& file,
                                  std::uint64_t bytes) {
    return plan(point, {.name = file, .bytes = bytes});
}

nlohmann::json json_of(const Growth& growth) {
    return {{"partition", growth.partition},
            {"filesystem", growth.filesystem},
            {"bytes_before", growth.bytes_before},
            {"bytes_after", growth.bytes_after}};
}

std::string text_of(const Growth& growth) {
    return "grown: " + growth.filesystem +
           (growth.partition == 0 ? "" : " on partition " + std::to_string(growth.partition)) +
           ", from " + human_bytes(static_cast<double>(growth.bytes_before)) + " to " +
           human_bytes(static_cast<double>(growth.bytes_after));
}

}  // namespace towline
