// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the running system uses: mounts of every mount namespace that /proc shows, swap, loop
// devices, and what dm or md is made of.

#include <cstdint>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

#include "io/result.hpp"

namespace towline {

struct Use {
    std::string how;     // "mounted at /srv"
    std::string remedy;  // "unmount it (umount /srv)"
};

// One look at the system; what changes afterwards is not seen. Opening a device with O_EXCL is what
// keeps it ours; this is what explains, and what sees image files.
class SystemUse {
  public:
    static Result<SystemUse> now();

    std::optional<Use> mount_of_device(dev_t number) const;
    std::optional<Use> mount_of_file(dev_t filesystem, ino_t inode) const;
    std::optional<Use> swap_on_device(dev_t number) const;
    std::optional<Use> swap_on_file(dev_t filesystem, ino_t inode) const;
    // dm, md or the like made of it.
    std::optional<Use> holder_of_device(dev_t number) const;
    // A loop device over it, other than `except`.
    std::optional<Use> loop_over_device(dev_t number, dev_t except = 0) const;
    std::optional<Use> loop_over_file(dev_t filesystem, std::uint64_t inode,
                                      dev_t except = 0) const;

    // The devices that a file's filesystem lies on; empty when it lies on none (tmpfs, network) or
    // cannot be told. `fd` may be O_PATH.
    std::vector<dev_t> devices_under(int fd) const;

  private:
    struct MountEntry {
        int id = 0;
        dev_t filesystem = 0;
        std::string source;
        std::string at;
        pid_t process = 0;  // 0: our own namespace
        dev_t source_device =
            0;  // what the source names, where the filesystem's number is anonymous
        dev_t source_filesystem = 0;
        ino_t source_inode = 0;
    };
    struct SwapEntry {
        std::string path;
        dev_t device = 0;
        dev_t filesystem = 0;
        ino_t inode = 0;
    };

    Status read_mounts(const std::string& process_folder, pid_t process);
    void read_other_namespaces();
    void read_swaps();
    Use use_of_mount(const MountEntry& entry) const;
    Use use_of_loop(dev_t loop) const;

    std::vector<MountEntry> mounts_;
    std::vector<SwapEntry> swaps_;
};

}  // namespace towline
