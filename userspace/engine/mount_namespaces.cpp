// SPDX-License-Identifier: Apache-2.0
// The kernel keeps mount namespaces in an order and leads from one to the next. It passes over
// those that the caller has no power over: a list counts as whole only for one who has it over all,
// in the first user namespace.

#include "userspace/engine/mount_namespaces.hpp"

#include <cerrno>
#include <cstdint>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "io/fd.hpp"

namespace towline {

namespace {

// From linux/nsfs.h of 6.12; Debian 12's is older.
struct NamespaceInfo {
    std::uint32_t size = sizeof(NamespaceInfo);
    std::uint32_t mount_count = 0;
    std::uint64_t id = 0;
};
constexpr unsigned long kNext = _IOR(0xb7, 11, NamespaceInfo);
constexpr unsigned long kPrevious = _IOR(0xb7, 12, NamespaceInfo);

// The kernel's PROC_USER_INIT_INO.
constexpr ino_t kFirstUserNamespace = 0xEFFFFFFD;

bool has_power_over_all() {
    struct stat status {};
    if (::stat("/proc/self/ns/user", &status) != 0) return false;
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
    if (::syscall(SYS_capget, &header, data) != 0) return false;
    return status.st_ino == kFirstUserNamespace &&
           (data[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective & CAP_TO_MASK(CAP_SYS_ADMIN)) != 0;
}

// Those in one direction from `start`. False: the list is not whole.
bool walk(int start, unsigned long direction, std::set<std::string>& names) {
    Fd at;
    for (;;) {
        NamespaceInfo info;
        Fd next(::ioctl(at ? at.get() : start, direction, &info));
        if (!next) return errno == ENOENT;
        struct stat status {};
        if (::fstat(next.get(), &status) != 0) return false;
        names.insert("mnt:[" + std::to_string(status.st_ino) + "]");
        at = std::move(next);
    }
}

}  // namespace

std::optional<std::set<std::string>> every_mount_namespace() {
    if (!has_power_over_all()) return std::nullopt;
    const Fd own(::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
    struct stat status {};
    if (!own || ::fstat(own.get(), &status) != 0) return std::nullopt;
    std::set<std::string> names{"mnt:[" + std::to_string(status.st_ino) + "]"};
    const bool whole = walk(own.get(), kNext, names) && walk(own.get(), kPrevious, names);
    return whole ? std::optional(std::move(names)) : std::nullopt;
}

}  // namespace towline
