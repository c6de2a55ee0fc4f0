// SPDX-License-Identifier: Apache-2.0
// All that can be known to go wrong is found out here, from the point and the target's size alone:
// nothing has been written then.

#include "userspace/vault/growth_plan.hpp"

#include <algorithm>
#include <map>

namespace towline {

namespace {

constexpr std::uint64_t kMbrBytesMax = (std::uint64_t{1} << 32) * 512;

std::unexpected<Error> refuse(const std::string& why, const std::string& remedy) {
    return fail(Code::kRefused, why + "; restore it without --grow, then " + remedy);
}

// What grows by hand, and how.
const std::map<std::string, std::string>& remedies() {
    static const std::map<std::string, std::string> kRemedies{
        {"crypto_LUKS",
         "grow the partition (parted: resizepart), open it (cryptsetup open), and "
         "grow the filesystem in it"},
        {"LVM2_member",
         "grow the partition (parted: resizepart), then pvresize, lvextend --resizefs"},
        {"linux_raid_member", "grow the array (mdadm --grow)"},
        {"swap", "delete the swap partition, grow the one before it, and make swap behind it"},
    };
    return kRemedies;
}

Result<GrownKind> kind_of(const FilesystemFacts& filesystem, const std::string& where) {
    const std::string& type = filesystem.type;
    if (type == "ext2" || type == "ext3" || type == "ext4") return GrownKind::kExt;
    if (type == "xfs") return GrownKind::kXfs;
    if (type == "btrfs") return GrownKind::kBtrfs;
    if (type.empty())
        return refuse(where + " has no filesystem that is known", "grow it by its own means");
    const auto known = remedies().find(type);
    return refuse(where + " is " + type + ", which is not grown here",
                  known == remedies().end() ? "grow it by its own means" : known->second);
}

Status check_table(const VolumeFacts& volume, const PartitionFacts& last,
                   const GrowthTarget& target) {
    const std::string number = std::to_string(last.number);
    if (volume.table != "gpt" && volume.table != "dos")
        return refuse("a partition table of the kind " + volume.table + " is not grown here",
                      "grow it by its own means");
    if (last.extended || last.logical)
        return refuse("the last partition (" + number + ") is within an extended one",
                      "grow both (parted: resizepart) and the filesystem");
    if (volume.table == "dos" && target.bytes > kMbrBytesMax)
        return refuse("an MBR ends at 2 TiB, and " + target.name + " is larger",
                      "make it a GPT (sgdisk --mbrtogpt)");
    if (volume.sector_bytes != target.sector_bytes)
        return refuse("the partition table counts in sectors of " +
                          std::to_string(volume.sector_bytes) + " bytes, " + target.name +
                          " has such of " + std::to_string(target.sector_bytes),
                      "make the table anew; or restore to a device with the same sectors");
    return {};
}

}  // namespace

std::vector<GrowthPlan::Program> GrowthPlan::programs() const {
    std::vector<Program> programs;
    if (!table.empty()) programs.push_back({"sfdisk", "fdisk"});
    switch (kind) {
        case GrownKind::kExt:
            programs.push_back({"e2fsck", "e2fsprogs"});
            programs.push_back({"resize2fs", "e2fsprogs"});
            break;
        case GrownKind::kXfs:
            programs.push_back({"xfs_growfs", "xfsprogs"});
            break;
        case GrownKind::kBtrfs:
            programs.push_back({"btrfs", "btrfs-progs"});
            break;
    }
    return programs;
}

Result<GrowthPlan> plan_growth(const VolumeFacts& volume, const GrowthTarget& target) {
    if (target.bytes <= volume.bytes) {
        return fail(Code::kRefused,
                    target.name + " (" + std::to_string(target.bytes) +
                        " bytes) is no larger than the volume (" + std::to_string(volume.bytes) +
                        " bytes): there is nothing to grow; restore it without --grow");
    }
    GrowthPlan plan{.bytes = volume.bytes};
    const FilesystemFacts* filesystem = &volume.filesystem;
    std::string where = "the volume, which has no partition table either,";
    if (!volume.table.empty()) {
        const auto last =
            std::ranges::max_element(volume.partitions, {}, &PartitionFacts::end_bytes);
        if (last == volume.partitions.end())
            return refuse("there is no partition on the volume", "make one");
        TRY_STATUS(check_table(volume, *last, target));
        plan.table = volume.table;
        plan.partition = last->number;
        plan.start_bytes = last->start_bytes;
        plan.bytes = last->bytes;
        filesystem = &last->filesystem;
        where = "the last partition (" + std::to_string(last->number) + ")";
    }
    plan.kind = TRY(kind_of(*filesystem, where));
    plan.filesystem = filesystem->type;
    plan.filesystem_uuid = filesystem->uuid;
    return plan;
}

}  // namespace towline
