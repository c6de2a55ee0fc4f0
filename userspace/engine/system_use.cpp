// SPDX-License-Identifier: Apache-2.0
// A look at what the system uses at this moment, from /proc and /sys.
//
// A mount is matched by the number of its device. Filesystems of several devices or subvolumes
// (btrfs) show an anonymous number instead: there the mount's source counts, found from the root of
// a process of that namespace, and for btrfs the kernel's own list of its devices. A namespace
// without a process is not seen; for block devices O_EXCL stands behind this.

#include "userspace/engine/system_use.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <libmount/libmount.h>
#include <memory>
#include <set>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <climits>

#include "io/block_device.hpp"
#include "userspace/engine/mount_namespaces.hpp"

namespace towline {
namespace {

namespace fs = std::filesystem;

struct FreeTable {
    void operator()(libmnt_table* table) const { mnt_unref_table(table); }
};
struct FreeIterator {
    void operator()(libmnt_iter* iterator) const { mnt_free_iter(iterator); }
};

std::string text_of(const char* text) {
    return text == nullptr ? "" : text;
}

// Empty when it cannot be read. Asked for every process of the system: without what a library
// would look at first.
std::string link_of(const std::string& path) {
    std::array<char, PATH_MAX> target;
    const ssize_t length = ::readlink(path.c_str(), target.data(), target.size());
    return length > 0 ? std::string(target.data(), static_cast<std::size_t>(length)) : "";
}

// Mount namespaces that were looked at, and from where in them: a process in a chroot is shown only
// the mounts beneath that. From a namespace's own root all of them are seen.
class SeenViews {
  public:
    // Whether the process sees mounts that no process before it did.
    bool is_new(const std::string& process_folder) {
        space_ = link_of(process_folder + "/ns/mnt");
        if (space_.empty() || whole_.contains(space_)) return false;
        root_ = link_of(process_folder + "/root");
        return !parts_.contains(space_ + " " + root_);
    }
    // The one asked about last.
    void add() {
        if (root_ == "/") whole_.insert(space_);
        parts_.insert(space_ + " " + root_);
    }
    // All mounts of all of them were seen.
    bool cover(const std::set<std::string>& spaces) const {
        return std::ranges::includes(whole_, spaces);
    }

  private:
    std::set<std::string> whole_;
    std::set<std::string> parts_;
    std::string space_;
    std::string root_;
};

std::optional<pid_t> process_of(const fs::path& folder) {
    const std::string name = folder.filename();
    pid_t process = 0;
    const auto [end, bad] = std::from_chars(name.data(), name.data() + name.size(), process);
    if (bad != std::errc{} || end != name.data() + name.size()) return std::nullopt;
    return process;
}

// Blanks and the like are written as \040 in the files of /proc.
std::string unescaped(const std::string& text) {
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool escape = text[i] == '\\' && i + 3 < text.size();
        if (escape) {
            plain += static_cast<char>(std::strtol(text.substr(i + 1, 3).c_str(), nullptr, 8));
            i += 3;
        } else {
            plain += text[i];
        }
    }
    return plain;
}

// All devices of the mounted btrfs that `device` belongs to.
std::vector<dev_t> btrfs_devices_beside(dev_t device) {
    std::error_code ignored;
    for (const auto& filesystem : fs::directory_iterator("/sys/fs/btrfs", ignored)) {
        std::vector<dev_t> members;
        std::error_code none;
        for (const auto& member : fs::directory_iterator(filesystem.path() / "devices", none)) {
            const auto number = parse_device_number(read_attribute(member.path() / "dev"));
            if (number) members.push_back(*number);
        }
        if (std::ranges::find(members, device) != members.end()) return members;
    }
    return {};
}

std::string shown_holder(dev_t holder) {
    const std::string name = read_attribute(block_folder(holder) / "dm/name");
    return name.empty() ? "/dev/" + block_name(holder) : "/dev/mapper/" + name;
}

}  // namespace

Result<SystemUse> SystemUse::now() {
    SystemUse use;
    TRY_STATUS(use.read_mounts("/proc/self", 0));
    use.read_other_namespaces();
    use.read_swaps();
    return use;
}

Status SystemUse::read_mounts(const std::string& process_folder, pid_t process) {
    const std::string path = process_folder + "/mountinfo";
    const std::unique_ptr<libmnt_table, FreeTable> table(mnt_new_table_from_file(path.c_str()));
    const std::unique_ptr<libmnt_iter, FreeIterator> iterator(mnt_new_iter(MNT_ITER_FORWARD));
    if (!table || !iterator) return fail_errno("reading the mounts from " + path);

    libmnt_fs* found = nullptr;
    while (mnt_table_next_fs(table.get(), iterator.get(), &found) == 0) {
        MountEntry entry;
        entry.id = mnt_fs_get_id(found);
        entry.filesystem = mnt_fs_get_devno(found);
        entry.source = text_of(mnt_fs_get_source(found));
        entry.at = text_of(mnt_fs_get_target(found));
        entry.process = process;
        struct stat status {};
        const bool by_source = major(entry.filesystem) == 0 && entry.source.starts_with('/');
        if (by_source && ::stat((process_folder + "/root" + entry.source).c_str(), &status) == 0) {
            entry.source_filesystem = status.st_dev;
            entry.source_inode = status.st_ino;
            if (S_ISBLK(status.st_mode)) entry.source_device = status.st_rdev;
        }
        mounts_.push_back(std::move(entry));
    }
    return {};
}

void SystemUse::read_other_namespaces() {
    SeenViews seen;
    if (seen.is_new("/proc/self")) seen.add();
    // Where the kernel says how many there are, few processes need to be looked at.
    const auto every = every_mount_namespace();
    std::error_code ignored;
    for (fs::directory_iterator entry("/proc", ignored), end; !ignored && entry != end;
         entry.increment(ignored)) {
        if (every && seen.cover(*every)) return;
        const auto process = process_of(entry->path());
        if (!process || !seen.is_new(entry->path().string())) continue;
        // A process that ends meanwhile leaves its namespace to the next one that is in it.
        if (read_mounts(entry->path().string(), *process)) seen.add();
    }
}

void SystemUse::read_swaps() {
    std::ifstream file("/proc/swaps");
    std::string line;
    std::getline(file, line);  // the heading
    while (std::getline(file, line)) {
        SwapEntry entry;
        entry.path = unescaped(line.substr(0, line.find_first_of(" \t")));
        struct stat status {};
        if (::stat(entry.path.c_str(), &status) != 0) continue;
        if (S_ISBLK(status.st_mode)) entry.device = status.st_rdev;
        entry.filesystem = status.st_dev;
        entry.inode = status.st_ino;
        swaps_.push_back(std::move(entry));
    }
}

Use SystemUse::use_of_mount(const MountEntry& entry) const {
    if (entry.process == 0)
        return {"mounted at " + entry.at, "unmount it (umount " + entry.at + ")"};
    const std::string process = std::to_string(entry.process);
    return {"mounted at " + entry.at + " in the mount namespace of process " + process,
            "unmount it there (nsenter -t " + process + " -m umount " + entry.at + ")"};
}

std::optional<Use> SystemUse::mount_of_device(dev_t number) const {
    for (const MountEntry& entry : mounts_)
        if (entry.filesystem == number || entry.source_device == number) return use_of_mount(entry);
    // Not the device that the mount names, but another one of the same filesystem.
    const std::vector<dev_t> members = btrfs_devices_beside(number);
    if (members.empty()) return std::nullopt;
    for (const MountEntry& entry : mounts_)
        if (std::ranges::find(members, entry.source_device) != members.end())
            return use_of_mount(entry);
    return Use{"part of a mounted btrfs", "unmount that filesystem"};
}

std::optional<Use> SystemUse::mount_of_file(dev_t filesystem, ino_t inode) const {
    for (const MountEntry& entry : mounts_)
        if (entry.source_device == 0 && entry.source_inode == inode &&
            entry.source_filesystem == filesystem)
            return use_of_mount(entry);
    return std::nullopt;
}

std::optional<Use> SystemUse::swap_on_device(dev_t number) const {
    for (const SwapEntry& entry : swaps_)
        if (entry.device == number)
            return Use{"in use as swap", "take it out of use (swapoff " + entry.path + ")"};
    return std::nullopt;
}

std::optional<Use> SystemUse::swap_on_file(dev_t filesystem, ino_t inode) const {
    for (const SwapEntry& entry : swaps_)
        if (entry.device == 0 && entry.filesystem == filesystem && entry.inode == inode)
            return Use{"in use as swap", "take it out of use (swapoff " + entry.path + ")"};
    return std::nullopt;
}

std::optional<Use> SystemUse::holder_of_device(dev_t number) const {
    for (const dev_t holder : holders_of(number)) {
        const std::string name = shown_holder(holder);
        const auto mount = mount_of_device(holder);
        return Use{"part of " + name + (mount ? ", which is " + mount->how : ""),
                   "take that apart first (vgchange -an, dmsetup remove, mdadm --stop)"};
    }
    return std::nullopt;
}

Use SystemUse::use_of_loop(dev_t loop) const {
    const std::string name = "/dev/" + block_name(loop);
    std::vector<dev_t> devices = partitions_of(loop);
    devices.insert(devices.begin(), loop);
    for (const dev_t device : devices) {
        const auto mount = mount_of_device(device);
        if (mount)
            return {"behind the loop device " + name + ", which is " + mount->how,
                    mount->remedy + ", detach it (losetup -d " + name + ")"};
    }
    return {"behind the loop device " + name, "detach it (losetup -d " + name + ")"};
}

std::optional<Use> SystemUse::loop_over_device(dev_t number, dev_t except) const {
    for (const dev_t loop : attached_loops()) {
        const auto backing = loop_backing(loop);
        if (loop != except && backing && backing->known && backing->inode == 0 &&
            backing->device == number)
            return use_of_loop(loop);
    }
    return std::nullopt;
}

std::optional<Use> SystemUse::loop_over_file(dev_t filesystem, std::uint64_t inode,
                                             dev_t except) const {
    for (const dev_t loop : attached_loops()) {
        const auto backing = loop_backing(loop);
        if (loop != except && backing && backing->known && backing->inode == inode &&
            backing->device == filesystem)
            return use_of_loop(loop);
    }
    return std::nullopt;
}

std::vector<dev_t> SystemUse::devices_under(int fd) const {
    struct statx status {};
    if (::statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &status) != 0) return {};
    const dev_t filesystem = makedev(status.stx_dev_major, status.stx_dev_minor);
    if (status.stx_dev_major != 0) return {filesystem};
    // The number of a btrfs subvolume is in no list of mounts: the mount itself tells.
    for (const MountEntry& entry : mounts_) {
        const bool same_mount = (status.stx_mask & STATX_MNT_ID) != 0 && entry.process == 0 &&
                                static_cast<std::uint64_t>(entry.id) == status.stx_mnt_id;
        if (!same_mount && entry.filesystem != filesystem) continue;
        if (entry.source_device == 0) continue;
        const std::vector<dev_t> members = btrfs_devices_beside(entry.source_device);
        return members.empty() ? std::vector{entry.source_device} : members;
    }
    return {};
}

}  // namespace towline
