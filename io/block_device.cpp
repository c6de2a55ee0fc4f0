// SPDX-License-Identifier: Apache-2.0
// Block devices by number, as sysfs shows them at this moment. Nothing is cached and nothing held:
// devices come and go, and each caller decides what a vanished one means to it.

#include "io/block_device.hpp"

#include <charconv>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "io/fd.hpp"

namespace towline {
namespace {

namespace fs = std::filesystem;

std::string trimmed(const std::string& text) {
    const auto first = text.find_first_not_of(" \t\r\n");
    if (first == std::string::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

// The numbers of the devices whose folders lie in `folder`.
std::vector<dev_t> devices_in(const fs::path& folder) {
    std::vector<dev_t> devices;
    std::error_code ignored;
    for (fs::directory_iterator entry(folder, ignored), end; entry != end;
         entry.increment(ignored)) {
        const auto number = parse_device_number(read_attribute(entry->path() / "dev"));
        if (number) devices.push_back(*number);
        if (ignored) break;
    }
    return devices;
}

// The node in /dev may be missing or another's in a container: compared by number.
Fd open_node(dev_t number) {
    const std::string path = "/dev/" + block_name(number);
    Fd fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    struct stat status {};
    if (fd && (::fstat(fd.get(), &status) != 0 || status.st_rdev != number)) fd.reset();
    return fd;
}

std::uint64_t number_in(const fs::path& attribute) {
    return std::strtoull(read_attribute(attribute).c_str(), nullptr, 10);
}

void fill_by_path(LoopBacking& backing) {
    struct stat status {};
    if (::stat(backing.path.c_str(), &status) != 0) return;
    backing.known = true;
    const bool is_device = S_ISBLK(status.st_mode);
    backing.device = is_device ? status.st_rdev : status.st_dev;
    backing.inode = is_device ? 0 : status.st_ino;
}

}  // namespace

std::string device_number_text(dev_t number) {
    return std::to_string(major(number)) + ":" + std::to_string(minor(number));
}

std::optional<dev_t> parse_device_number(std::string_view text) {
    unsigned major_number = 0;
    unsigned minor_number = 0;
    const char* end = text.data() + text.size();
    const auto [colon, bad_major] = std::from_chars(text.data(), end, major_number);
    if (bad_major != std::errc{} || colon == end || *colon != ':') return std::nullopt;
    const auto [rest, bad_minor] = std::from_chars(colon + 1, end, minor_number);
    if (bad_minor != std::errc{} || rest != end) return std::nullopt;
    return makedev(major_number, minor_number);
}

fs::path block_folder(dev_t number) {
    return fs::path("/sys/dev/block") / device_number_text(number);
}

std::string block_name(dev_t number) {
    const std::string name = read_property(block_folder(number) / "uevent", "DEVNAME");
    return name.empty() ? device_number_text(number) : name;
}

std::string read_attribute(const fs::path& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return trimmed(line);
}

std::string read_property(const fs::path& path, std::string_view key) {
    std::ifstream file(path);
    const std::string start = std::string(key) + "=";
    for (std::string line; std::getline(file, line);)
        if (line.starts_with(start)) return trimmed(line.substr(start.size()));
    return {};
}

bool is_partition(dev_t number) {
    std::error_code ignored;
    return fs::exists(block_folder(number) / "partition", ignored);
}

std::optional<dev_t> disk_of(dev_t partition) {
    if (!is_partition(partition)) return std::nullopt;
    // The entry in /sys/dev/block is a link; its target lies in the disk's folder.
    std::error_code failed;
    const fs::path folder = fs::canonical(block_folder(partition), failed);
    if (failed) return std::nullopt;
    return parse_device_number(read_attribute(folder.parent_path() / "dev"));
}

std::vector<dev_t> partitions_of(dev_t disk) {
    std::vector<dev_t> partitions;
    for (const dev_t inside : devices_in(block_folder(disk)))
        if (inside != disk && is_partition(inside)) partitions.push_back(inside);
    return partitions;
}

std::vector<dev_t> slaves_of(dev_t number) {
    return devices_in(block_folder(number) / "slaves");
}

std::vector<dev_t> holders_of(dev_t number) {
    return devices_in(block_folder(number) / "holders");
}

std::optional<LoopBacking> loop_backing(dev_t number) {
    const fs::path folder = block_folder(number) / "loop";
    std::error_code ignored;
    if (!fs::exists(folder / "backing_file", ignored)) return std::nullopt;
    LoopBacking backing;
    backing.path = read_attribute(folder / "backing_file");

    struct loop_info64 info {};
    const Fd node = open_node(number);
    if (!node || ::ioctl(node.get(), LOOP_GET_STATUS64, &info) != 0) {
        fill_by_path(backing);
        backing.offset_bytes = number_in(folder / "offset");
        backing.length_bytes_max = number_in(folder / "sizelimit");
        return backing;
    }
    backing.known = true;
    backing.offset_bytes = info.lo_offset;
    backing.length_bytes_max = info.lo_sizelimit;
    backing.device = info.lo_device;
    backing.inode = info.lo_inode;
    // For a backing device lo_device is the filesystem of its node; lo_rdevice is the device. Some
    // kernels repeat lo_device there for a file.
    if (info.lo_rdevice != 0 && info.lo_rdevice != info.lo_device) {
        backing.device = info.lo_rdevice;
        backing.inode = 0;
    }
    return backing;
}

std::vector<dev_t> attached_loops() {
    std::vector<dev_t> loops;
    std::error_code ignored;
    for (fs::directory_iterator entry("/sys/block", ignored), end; entry != end;
         entry.increment(ignored)) {
        // The kernel has several for whoever wants one: most are attached to nothing.
        std::error_code none;
        if (!fs::exists(entry->path() / "loop/backing_file", none)) continue;
        const auto number = parse_device_number(read_attribute(entry->path() / "dev"));
        if (number && loop_backing(*number)) loops.push_back(*number);
        if (ignored) break;
    }
    return loops;
}

}  // namespace towline
