// SPDX-License-Identifier: Apache-2.0
// Mounting, by mount(2) itself: the connection's descriptor stays ours to hand over.

#include "cbt/fuse/fuse_mount.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

namespace towline {

namespace {

std::unexpected<Error> refuse(const std::filesystem::path& mountpoint, const char* what) {
    return fail(Code::kRefused, mountpoint.string() + " " + what);
}

struct CloseFolder {
    void operator()(DIR* folder) const { ::closedir(folder); }
};

Result<bool> has_nothing_in(const std::filesystem::path& folder) {
    const std::unique_ptr<DIR, CloseFolder> opened(::opendir(folder.c_str()));
    if (!opened) return fail_errno("opening the folder " + folder.string());
    std::size_t count = 0;
    while (count <= 2 && ::readdir(opened.get()) != nullptr)  // NOLINT(concurrency-mt-unsafe)
        ++count;
    return count <= 2;
}

}  // namespace

Status check_mountpoint(const std::filesystem::path& mountpoint) {
    struct statx status {};
    if (::statx(AT_FDCWD, mountpoint.c_str(), AT_SYMLINK_NOFOLLOW, STATX_TYPE, &status) != 0) {
        if (errno == ENOENT)
            return refuse(mountpoint, "is not there; make the folder first (mkdir)");
        // The latter while the kernel is at tearing it down.
        if (errno == ENOTCONN || errno == ECONNABORTED)
            return refuse(mountpoint,
                          "is the mount of a daemon that died; unmount it first (umount)");
        return fail_errno("looking at " + mountpoint.string());
    }
    if (S_ISLNK(status.stx_mode))
        return refuse(mountpoint, "is a symbolic link; name the folder that it leads to");
    if (!S_ISDIR(status.stx_mode)) return refuse(mountpoint, "is no folder; name an empty folder");
    if ((status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0)
        return refuse(mountpoint,
                      "has something mounted on it; unmount that first (umount), or name another "
                      "folder");
    const bool empty = TRY(has_nothing_in(mountpoint));
    if (!empty)
        return refuse(mountpoint,
                      "is not empty, and what is in it would be hidden; name an empty "
                      "folder");
    return {};
}

Result<Fd> mount_fuse(const std::filesystem::path& mountpoint, const FuseMountOptions& wanted) {
    Fd device(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
    if (!device && errno == ENOENT)
        return fail(Code::kUnsupported,
                    "this kernel has no FUSE (/dev/fuse is not there); load it (modprobe fuse)");
    if (!device) return fail_errno("opening /dev/fuse");
    const std::string options = "fd=" + std::to_string(device.get()) +
                                ",rootmode=40000,user_id=" + std::to_string(::geteuid()) +
                                ",group_id=" + std::to_string(::getegid()) +
                                ",default_permissions" + (wanted.allow_other ? ",allow_other" : "");
    if (::mount("towline", mountpoint.c_str(), "fuse.towline",
                MS_NOSUID | MS_NODEV | static_cast<unsigned long>(wanted.read_only ? MS_RDONLY : 0),
                options.c_str()) != 0) {
        if (errno == EPERM)
            return fail(Code::kRefused, "mounting on " + mountpoint.string() +
                                            " is root's to do; run it as root (sudo)");
        return fail_errno("mounting on " + mountpoint.string());
    }
    return device;
}

Status unmount_fuse(const std::filesystem::path& mountpoint) {
    if (::umount2(mountpoint.c_str(), UMOUNT_NOFOLLOW) == 0) return {};
    if (errno == EBUSY)
        return fail(Code::kBusy, mountpoint.string() +
                                     " is in use; unmount the filesystem on it and detach the loop "
                                     "device first (umount, losetup -d)");
    return fail_errno("unmounting " + mountpoint.string());
}

Status detach_fuse(const std::filesystem::path& mountpoint) {
    if (::umount2(mountpoint.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return {};
    return fail_errno("detaching " + mountpoint.string());
}

Status avoid_reclaim() {
    const bool locked = ::mlockall(MCL_CURRENT | MCL_FUTURE) == 0;
    const int lock_error = errno;
    const bool flusher = ::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) == 0;
    if (!flusher)
        return fail_errno(
            "cannot become an I/O flusher, and under memory pressure writes may wait for memory "
            "that only they can free; run with CAP_SYS_RESOURCE");
    if (!locked)
        return fail_errno(lock_error,
                          "cannot lock memory, and under memory pressure writes may "
                          "wait for swap; run with CAP_IPC_LOCK");
    return {};
}

}  // namespace towline
