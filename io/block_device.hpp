// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the kernel tells of a block device by its number: its place among disks, partitions and the
// devices stacked on it. All from sysfs; what is not there is empty, never an error.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace towline {

std::string device_number_text(dev_t number);  // "MAJOR:MINOR"
std::optional<dev_t> parse_device_number(std::string_view text);

// The folder of the device in sysfs, also for partitions.
std::filesystem::path block_folder(dev_t number);
// The kernel's name, as in /dev: "sda1", "loop0"; the number when there is no such device.
std::string block_name(dev_t number);
// The first line of a sysfs file without blanks around it.
std::string read_attribute(const std::filesystem::path& path);
// A value of a file of KEY=VALUE lines (uevent, the udev database with its "E:" before them).
std::string read_property(const std::filesystem::path& path, std::string_view key);

bool is_partition(dev_t number);
// The disk of a partition; nothing for a disk.
std::optional<dev_t> disk_of(dev_t partition);
std::vector<dev_t> partitions_of(dev_t disk);
std::vector<dev_t> slaves_of(dev_t number);   // what it is made of (dm, md)
std::vector<dev_t> holders_of(dev_t number);  // what is made of it

// What a loop device stands on. The inode is right also when the file was renamed, linked or
// deleted since; the path is for people.
struct LoopBacking {
    bool known = false;  // false: the kernel did not tell number and inode
    dev_t device = 0;
    std::uint64_t inode = 0;
    std::uint64_t offset_bytes = 0;
    std::uint64_t length_bytes_max = 0;  // 0: to its end
    std::string path;
};
// Nothing when it is not an attached loop device.
std::optional<LoopBacking> loop_backing(dev_t number);
std::vector<dev_t> attached_loops();

}  // namespace towline
