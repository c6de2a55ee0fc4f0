// SPDX-License-Identifier: Apache-2.0
// What the eBPF tracker has to know of a block device: where it lies, how its requests end, and
// what changes it behind the hooks' back.

#include "cbt/bpf/device.hpp"

#include <algorithm>
#include <cstdlib>

#include "io/block_device.hpp"

namespace towline {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kSectorBytes = 512;

dev_t disk_under(dev_t number) {
    return disk_of(number).value_or(number);
}

bool takes_bios(dev_t disk) {
    std::error_code ignored;
    return !fs::exists(block_folder(disk) / "mq", ignored);
}

// Its own bios go on to a hidden device, and in-flight ones were not always counted.
bool is_multipath_nvme(dev_t disk) {
    return block_name(disk).starts_with("nvme") && takes_bios(disk);
}

// These hand on the very bio that they got, of which no second submission is traced. A request
// queue below sees it end; a device without one does not.
bool stands_below_a_forwarder(dev_t number) {
    return std::ranges::any_of(holders_of(number), [](dev_t holder) {
        const std::string name = block_name(holder);
        return name.starts_with("md") || name.starts_with("bcache");
    });
}

}  // namespace

Status hooks_fit(const Volume& volume) {
    const std::string& name = volume.name();
    if (volume.kind() != VolumeKind::kBlockDevice)
        return fail(Code::kUnsupported, name +
                                            " is a file, and eBPF tracks block devices; serve it "
                                            "by the fuse tracker, or attach a loop device to it");
    const dev_t number = volume.status().st_rdev;
    const dev_t disk = disk_under(number);
    const std::string zoned = read_attribute(block_folder(disk) / "queue/zoned");
    if (!zoned.empty() && zoned != "none")
        return fail(Code::kUnsupported, name + " is a zoned device, which eBPF does not track");
    if (read_attribute(block_folder(disk) / "queue/dax") == "1")
        return fail(Code::kUnsupported, name +
                                            " can be written to by DAX, past the block layer, "
                                            "where eBPF sees nothing");
    if (is_multipath_nvme(disk))
        return fail(Code::kUnsupported, name +
                                            " is an NVMe disk of several paths, which eBPF does "
                                            "not track (nvme_core.multipath=N makes it of one)");
    if (takes_bios(disk) && (stands_below_a_forwarder(number) || stands_below_a_forwarder(disk)))
        return fail(Code::kUnsupported, name +
                                            " is part of an array or cache that writes to it "
                                            "unseen; track that device instead");
    return {};
}

HookPlace hook_place(const BpfRecord& record) {
    const VolumeSpan& span = record.span;
    return {.disk = span.disk,
            .first_sector = span.first_sector,
            .whole_disk = span.disk == span.device,
            .bio_based = span.bio_based,
            .geometry = {.volume_bytes = span.volume_bytes, .block_bytes = record.block_bytes}};
}

Result<VolumeSpan> span_of(const Volume& volume) {
    const dev_t number = volume.status().st_rdev;
    VolumeSpan span;
    span.boot = read_attribute("/proc/sys/kernel/random/boot_id");
    span.device = number;
    span.disk = disk_under(number);
    span.bio_based = takes_bios(span.disk);
    span.disk_sequence = read_attribute(block_folder(span.disk) / "diskseq");
    span.identity = TRY(volume.identity());
    // sysfs counts in sectors of 512 bytes, whatever the device's own are.
    if (is_partition(number))
        span.first_sector =
            std::strtoull(read_attribute(block_folder(number) / "start").c_str(), nullptr, 10);
    span.volume_bytes = volume.size_bytes() / kSectorBytes * kSectorBytes;
    if (span.boot.empty() || span.disk_sequence.empty())
        return fail(Code::kUnsupported, "this kernel does not tell one life of " + volume.name() +
                                            " from the next (boot_id, diskseq): it is too old");
    return span;
}

std::optional<Volume> open_device(dev_t number) {
    auto volume = Volume::open("/dev/" + block_name(number), Access::kRead);
    if (!volume || volume->kind() != VolumeKind::kBlockDevice || volume->status().st_rdev != number)
        return std::nullopt;
    return std::move(*volume);
}

}  // namespace towline
