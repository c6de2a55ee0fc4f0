// SPDX-License-Identifier: Apache-2.0
// From sysfs what there is, from libblkid what is on it, from the mounts where it is seen. Nothing
// is opened for writing, and a device that cannot be probed is still listed.

#include "userspace/control/catalog.hpp"

#include <algorithm>
#include <blkid/blkid.h>
#include <charconv>
#include <filesystem>
#include <memory>

#include <nlohmann/json.hpp>

#include "io/block_device.hpp"
#include "userspace/engine/filesystem_freeze.hpp"

namespace towline {

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kSectorBytes = 512;  // of sysfs, whatever the device's are

std::string kind_of(dev_t number) {
    const fs::path folder = block_folder(number);
    std::error_code ignored;
    if (is_partition(number)) return "partition";
    if (fs::exists(folder / "dm", ignored)) return "mapped";
    if (fs::exists(folder / "md", ignored)) return "md";
    return block_name(number).starts_with("loop") ? "loop" : "disk";
}

// 0: nothing is in it (a loop device that is free, a drive without a medium).
std::uint64_t size_of(dev_t number) {
    const std::string text = read_attribute(block_folder(number) / "size");
    std::uint64_t sectors = 0;
    std::from_chars(text.data(), text.data() + text.size(), sectors);
    return sectors * kSectorBytes;
}

void probe(CatalogVolume& volume) {
    struct Free {
        void operator()(blkid_probe probe) const { blkid_free_probe(probe); }
    };
    const std::unique_ptr<blkid_struct_probe, Free> probe(
        blkid_new_probe_from_filename(volume.path.c_str()));
    if (!probe) return;
    blkid_probe_enable_superblocks(probe.get(), 1);
    blkid_probe_set_superblocks_flags(probe.get(),
                                      BLKID_SUBLKS_TYPE | BLKID_SUBLKS_UUID | BLKID_SUBLKS_LABEL);
    if (blkid_do_safeprobe(probe.get()) != 0) return;
    const auto value = [&](const char* name) -> std::string {
        const char* text = nullptr;
        return blkid_probe_lookup_value(probe.get(), name, &text, nullptr) == 0 ? text : "";
    };
    volume.filesystem = value("TYPE");
    volume.uuid = value("UUID");
    volume.label = value("LABEL");
}

}  // namespace

Result<std::vector<CatalogVolume>> volumes_of_host() {
    std::vector<CatalogVolume> volumes;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator("/sys/class/block", error)) {
        const auto number = parse_device_number(read_attribute(entry.path() / "dev"));
        if (!number || size_of(*number) == 0) continue;
        CatalogVolume volume;
        volume.path = "/dev/" + block_name(*number);
        volume.kind = kind_of(*number);
        if (const auto disk = disk_of(*number)) volume.parent = "/dev/" + block_name(*disk);
        volume.size_bytes = size_of(*number);
        volume.mounts = mounts_on_device(*number);
        probe(volume);
        volumes.push_back(std::move(volume));
    }
    if (error) return fail_errno(error.value(), "cannot list /sys/class/block");
    std::ranges::sort(volumes, {}, &CatalogVolume::path);
    return volumes;
}

nlohmann::json json_of(const CatalogVolume& volume) {
    const auto text = [](const std::string& value) {
        return value.empty() ? nlohmann::json(nullptr) : nlohmann::json(value);
    };
    return {{"path", volume.path},
            {"kind", volume.kind},
            {"parent", text(volume.parent)},
            {"size_bytes", volume.size_bytes},
            {"filesystem", text(volume.filesystem)},
            {"uuid", text(volume.uuid)},
            {"label", text(volume.label)},
            {"mounts", volume.mounts}};
}

}  // namespace towline
