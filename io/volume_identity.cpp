// SPDX-License-Identifier: Apache-2.0
// What tells this volume from another one that may carry its name tomorrow.
//
// The rule is to err towards "another volume": that costs a scan, the other way costs data. So a
// part that cannot be read stays empty, a name that can be reused (a loop number) gets the kernel's
// own sequence number beside it, and a partition's uuid, which every copy of its disk repeats,
// never stands without the disk.

#include <algorithm>
#include <blkid/blkid.h>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <linux/fs.h>
#include <memory>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "io/block_device.hpp"
#include "io/volume.hpp"

#ifndef BLKGETDISKSEQ
#define BLKGETDISKSEQ _IOR(0x12, 128, __u64)
#endif

namespace towline {
namespace {

namespace fs = std::filesystem;

// The superblock of every filesystem that is mounted from it lies within (btrfs: at 64 KiB). What
// lies at the other end belongs to arrays of disks.
constexpr std::uint64_t kProbedBytes = 256 << 10;

struct FreeProbe {
    void operator()(blkid_probe probe) const { blkid_free_probe(probe); }
};
using Probe = std::unique_ptr<std::remove_pointer_t<blkid_probe>, FreeProbe>;

std::string hexadecimal(std::uint64_t value) {
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
    return text;
}

// The number of an anonymous device (btrfs, overlay, network) is drawn anew at every mount; its
// filesystem's own id, where there is one, stays.
std::string filesystem_locator(int fd, const struct statx& status) {
    struct statfs filesystem {};
    std::uint64_t id = 0;
    static_assert(sizeof filesystem.f_fsid == sizeof id);
    if (status.stx_dev_major == 0 && ::fstatfs(fd, &filesystem) == 0)
        std::memcpy(&id, &filesystem.f_fsid, sizeof id);
    if (id != 0) return "fsid-" + hexadecimal(id);
    return std::to_string(status.stx_dev_major) + ":" + std::to_string(status.stx_dev_minor);
}

Result<std::string> file_locator(int fd, const std::string& name) {
    struct statx status {};
    if (::statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &status) != 0)
        return fail_errno("looking at " + name);
    std::string birth;
    if ((status.stx_mask & STATX_BTIME) != 0)
        birth = std::to_string(status.stx_btime.tv_sec * 1'000'000'000LL +
                               static_cast<std::int64_t>(status.stx_btime.tv_nsec));
    return filesystem_locator(fd, status) + "/" + std::to_string(status.stx_ino) + "/" + birth;
}

// The backing file by its path, if that still leads to it; else by its numbers alone.
std::string backing_locator(const LoopBacking& backing) {
    std::string by_number =
        device_number_text(backing.device) + "/" + std::to_string(backing.inode) + "/";
    const Fd fd(::open(backing.path.c_str(), O_PATH | O_CLOEXEC));
    struct stat status {};
    if (!fd || ::fstat(fd.get(), &status) != 0) return by_number;
    if (status.st_dev != backing.device || status.st_ino != backing.inode) return by_number;
    return file_locator(fd.get(), backing.path).value_or(by_number);
}

// udev's notes of a device: serials that only its own programs ask from the hardware.
std::string udev_property(dev_t number, const char* key) {
    return read_property("/run/udev/data/b" + device_number_text(number), std::string("E:") + key);
}

std::string hardware_locator(dev_t disk) {
    const fs::path folder = block_folder(disk);
    for (const char* attribute : {"wwid", "device/wwid", "serial", "device/serial"}) {
        const std::string value = read_attribute(folder / attribute);
        if (!value.empty()) return fs::path(attribute).filename().string() + ":" + value;
    }
    const std::string serial = udev_property(disk, "ID_SERIAL");
    return serial.empty() ? "" : "serial:" + serial;
}

std::string stacked_locator(dev_t number) {
    const fs::path folder = block_folder(number);
    const std::string dm = read_attribute(folder / "dm/uuid");
    if (!dm.empty()) return "dm:" + dm;
    const std::string md = read_attribute(folder / "md/uuid");
    if (!md.empty()) return "md:" + md;
    const std::string md_by_udev = udev_property(number, "MD_UUID");
    return md_by_udev.empty() ? "" : "md:" + md_by_udev;
}

std::string loop_locator(dev_t number) {
    const auto backing = loop_backing(number);
    if (!backing || !backing->known) return {};
    return "loop:" + backing_locator(*backing) + "+" + std::to_string(backing->offset_bytes);
}

std::string partition_uuid_on_disk(dev_t disk, dev_t partition) {
    const Probe probe(blkid_new_probe_from_filename(("/dev/" + block_name(disk)).c_str()));
    if (!probe || blkid_probe_get_devno(probe.get()) != disk) return {};
    blkid_probe_enable_partitions(probe.get(), 1);
    const blkid_partlist list = blkid_probe_get_partitions(probe.get());
    if (list == nullptr) return {};
    const blkid_partition found = blkid_partlist_devno_to_partition(list, partition);
    const char* uuid = found == nullptr ? nullptr : blkid_partition_get_uuid(found);
    return uuid == nullptr ? "" : uuid;
}

std::string partition_locator(dev_t disk, dev_t partition) {
    std::string uuid = read_property(block_folder(partition) / "uevent", "PARTUUID");
    if (uuid.empty()) uuid = udev_property(partition, "ID_PART_ENTRY_UUID");
    if (uuid.empty()) uuid = partition_uuid_on_disk(disk, partition);
    // The start counts beside the uuid: a table written anew may keep the one and move the other.
    return "/partition:" + uuid + "@" + read_attribute(block_folder(partition) / "start");
}

// Empty when nothing about it is stable.
std::string disk_locator(dev_t disk) {
    for (const auto locator : {loop_locator, stacked_locator, hardware_locator}) {
        std::string found = locator(disk);
        if (!found.empty()) return found;
    }
    return {};
}

// Drivers whose numbers go to whatever comes next, behind whatever name stands above.
bool number_is_reused(dev_t disk) {
    const std::string name = block_name(disk);
    return name.starts_with("loop") || name.starts_with("nbd") || name.starts_with("ram") ||
           name.starts_with("zram") || name.starts_with("ublk");
}

std::string disk_sequence(int fd) {
    std::uint64_t sequence = 0;
    if (::ioctl(fd, BLKGETDISKSEQ, &sequence) != 0) return {};
    return std::to_string(sequence);
}

VolumeIdentity device_identity(int fd, dev_t number) {
    const dev_t disk = disk_of(number).value_or(number);
    VolumeIdentity identity;
    identity.kind = "device";
    identity.locator = disk_locator(disk);
    if (identity.locator.empty() || number_is_reused(disk)) identity.generation = disk_sequence(fd);
    if (identity.locator.empty()) identity.locator = "number:" + device_number_text(disk);
    if (disk != number) identity.locator += partition_locator(disk, number);
    return identity;
}

// libblkid reads as it likes, unaligned and through the page cache. So it gets a sparse copy of the
// begin in memory, read our way, and the volume itself stays untouched by it.
Result<Fd> copy_of_begin(const Volume& volume) {
    Fd copy(::memfd_create("superblocks", MFD_CLOEXEC));
    if (!copy || ::ftruncate(copy.get(), static_cast<off_t>(volume.size_bytes())) != 0)
        return fail_errno("making room to look at the superblocks of " + volume.name());
    std::vector<std::byte> begin(std::min(volume.size_bytes(), kProbedBytes));
    TRY_STATUS(volume.read_at(0, begin));
    if (::pwrite(copy.get(), begin.data(), begin.size(), 0) != static_cast<ssize_t>(begin.size()))
        return fail_errno("copying the superblocks of " + volume.name());
    return copy;
}

}  // namespace

Result<std::string> Volume::filesystem_uuid() const {
    if (size_bytes_ == 0) return std::string();
    const Fd copy = TRY(copy_of_begin(*this));
    const Probe probe(blkid_new_probe());
    if (!probe || blkid_probe_set_device(probe.get(), copy.get(), 0, 0) != 0) return std::string();
    blkid_probe_enable_superblocks(probe.get(), 1);
    blkid_probe_set_superblocks_flags(probe.get(), BLKID_SUBLKS_UUID | BLKID_SUBLKS_TYPE);
    if (blkid_do_safeprobe(probe.get()) != 0) return std::string();
    const char* uuid = nullptr;
    if (blkid_probe_lookup_value(probe.get(), "UUID", &uuid, nullptr) != 0) return std::string();
    return std::string(uuid);
}

bool VolumeIdentity::same_volume(const VolumeIdentity& other) const {
    return !locator.empty() && kind == other.kind && locator == other.locator &&
           generation == other.generation;
}

Result<VolumeIdentity> Volume::identity() const {
    VolumeIdentity identity;
    if (kind_ == VolumeKind::kBlockDevice) {
        identity = device_identity(fd_.get(), status_.st_rdev);
    } else {
        identity.kind = "file";
        identity.locator = TRY(file_locator(fd_.get(), name_));
    }
    return identity;
}

}  // namespace towline
