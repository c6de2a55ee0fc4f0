// SPDX-License-Identifier: Apache-2.0
// The guard waits for the end of a pipe, which comes with the end of whoever mounted. What it then
// detaches is what is dead: a mount that somebody else has put in the same place answers, and
// stays.

#include "cbt/fuse/mount_guard.hpp"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <climits>

namespace towline {

namespace {

// The kernel may still be at tearing the connection down: the call then waits for that.
bool is_dead_mount(const std::filesystem::path& mountpoint) {
    struct stat status {};
    return ::lstat(mountpoint.c_str(), &status) != 0 &&
           (errno == ENOTCONN || errno == ECONNABORTED);
}

[[noreturn]] void guard(int life, const std::filesystem::path& mountpoint) {
    ::setsid();  // a Ctrl-C is meant for the other one
    ::prctl(PR_SET_NAME, "towline-guard");
    for (const int ignored : {SIGINT, SIGTERM, SIGHUP})
        std::signal(ignored, SIG_IGN);
    (void)!::chdir("/");
    // No lock, no connection and no pipe of anybody's may live on here.
    const auto keep = static_cast<unsigned>(life);
    if (keep > 0) ::syscall(SYS_close_range, 0U, keep - 1, 0U);
    ::syscall(SYS_close_range, keep + 1, UINT_MAX, 0U);
    char byte = 0;
    while (::read(life, &byte, 1) < 0 && errno == EINTR) {
    }
    if (is_dead_mount(mountpoint)) ::umount2(mountpoint.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    ::_exit(0);
}

}  // namespace

Result<MountGuard> MountGuard::start(const std::filesystem::path& mountpoint) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno("making a pipe");
    const Fd heard(ends[0]);
    Fd life(ends[1]);
    const pid_t process = ::fork();
    if (process < 0) return fail_errno("starting the guard of the mount");
    if (process == 0) {
        life.reset();
        guard(heard.get(), mountpoint);
    }
    return MountGuard(std::move(life), process);
}

MountGuard::~MountGuard() {
    if (!life_) return;
    life_.reset();
    while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
    }
}

}  // namespace towline
