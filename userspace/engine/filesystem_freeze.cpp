// SPDX-License-Identifier: Apache-2.0
// A frozen filesystem blocks every writer, and a blocked writer can't even be killed: so the thaw
// must not hang on this process. The watchdog is forked before the first freeze, holds its memory
// locked and nothing but descriptors, and waits on a socket whose other end is ours alone: a word
// means that we thawed, the end of it that we died. It may only do what is allowed after a fork in
// a process of several threads.

#include "userspace/engine/filesystem_freeze.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <libmount/libmount.h>
#include <linux/fs.h>
#include <poll.h>
#include <set>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/block_device.hpp"

namespace towline {

namespace {

constexpr char kReady = 'r';
constexpr char kThawed = 't';

std::vector<int> numbers_of(const std::vector<Fd>& fds) {
    std::vector<int> numbers(fds.size());
    std::ranges::transform(fds, numbers.begin(), [](const Fd& fd) { return fd.get(); });
    return numbers;
}

// The whole life of the watchdog. Signals to the program's group are not for it.
[[noreturn]] void watch(int parent, const std::vector<int>& mounts, int limit_ms) {
    ::setsid();
    for (const int each : {SIGHUP, SIGINT, SIGTERM, SIGPIPE, SIGQUIT})
        ::signal(each, SIG_IGN);
    static_cast<void>(::mlockall(MCL_CURRENT | MCL_FUTURE));
    // Others' ends, which would hide their deaths from their own watchdogs.
    for (int fd = 0; fd < 1024; ++fd) {
        if (fd != parent && std::find(mounts.begin(), mounts.end(), fd) == mounts.end())
            ::close(fd);
    }
    char word = kReady;
    static_cast<void>(::send(parent, &word, 1, MSG_NOSIGNAL));
    pollfd wait{.fd = parent, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&wait, 1, limit_ms);
    const bool thawed = ready > 0 && ::recv(parent, &word, 1, 0) == 1 && word == kThawed;
    if (!thawed) {
        for (const int mount : mounts)
            static_cast<void>(::ioctl(mount, FITHAW, 0));
    }
    ::_exit(thawed ? 0 : 1);
}

// The filesystems' numbers are anonymous for some (btrfs): there the source tells.
bool is_on(libmnt_fs* entry, const std::set<dev_t>& devices) {
    if (devices.contains(mnt_fs_get_devno(entry))) return true;
    const char* source = mnt_fs_get_source(entry);
    struct stat status {};
    return ::major(mnt_fs_get_devno(entry)) == 0 && source != nullptr && *source == '/' &&
           ::stat(source, &status) == 0 && S_ISBLK(status.st_mode) &&
           devices.contains(status.st_rdev);
}

// What is made of it as well: a filesystem on a logical volume on it.
void add_above(dev_t number, std::set<dev_t>& devices) {
    if (!devices.insert(number).second) return;
    for (const dev_t partition : partitions_of(number))
        add_above(partition, devices);
    for (const dev_t holder : holders_of(number))
        add_above(holder, devices);
}

}  // namespace

std::vector<std::string> mounts_on_device(dev_t number) {
    std::set<dev_t> devices;
    add_above(number, devices);
    std::vector<std::string> mounts;
    std::set<dev_t> seen;
    libmnt_table* table = mnt_new_table_from_file("/proc/self/mountinfo");
    libmnt_iter* each = mnt_new_iter(MNT_ITER_FORWARD);
    libmnt_fs* entry = nullptr;
    while (table != nullptr && mnt_table_next_fs(table, each, &entry) == 0) {
        if (is_on(entry, devices) && seen.insert(mnt_fs_get_devno(entry)).second)
            mounts.emplace_back(mnt_fs_get_target(entry));
    }
    mnt_free_iter(each);
    mnt_unref_table(table);
    return mounts;
}

Result<FilesystemFreeze> FilesystemFreeze::freeze(const std::vector<std::string>& mounts,
                                                  Duration limit) {
    FilesystemFreeze frozen;
    for (const std::string& mount : mounts) {
        Fd fd(::open(mount.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!fd) return fail_errno("cannot open " + mount + " to freeze it");
        // What is dirty by now is written while others still can.
        static_cast<void>(::syncfs(fd.get()));
        frozen.mounts_.push_back(std::move(fd));
    }
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return fail_errno("cannot make a watchdog");
    frozen.watchdog_ = Fd(ends[0]);
    Fd theirs(ends[1]);
    const std::vector<int> numbers = numbers_of(frozen.mounts_);
    const auto limit_ms = std::chrono::duration_cast<std::chrono::milliseconds>(limit).count();
    frozen.watchdog_pid_ = ::fork();
    if (frozen.watchdog_pid_ < 0) return fail_errno("cannot start a watchdog");
    if (frozen.watchdog_pid_ == 0) watch(theirs.get(), numbers, static_cast<int>(limit_ms));
    // Ours alone would else never end.
    theirs.reset();
    char word = 0;
    if (::recv(frozen.watchdog_.get(), &word, 1, 0) != 1 || word != kReady)
        return fail(Code::kIo, "the watchdog of a freeze did not come up");
    frozen.frozen_at_ = monotonic_now();
    for (std::size_t at = 0; at < mounts.size(); ++at) {
        // The destructor has those thawed that were frozen before.
        if (::ioctl(frozen.mounts_[at].get(), FIFREEZE, 0) == 0) continue;
        const int why = errno;
        frozen.mounts_.resize(at);
        if (why == EBUSY) {
            return fail(Code::kBusy, mounts[at] + " is frozen already, by somebody else");
        }
        return fail_errno(why, "cannot freeze " + mounts[at]);
    }
    return frozen;
}

Result<Duration> FilesystemFreeze::thaw() {
    bool early = false;
    for (const Fd& mount : mounts_) {
        // EINVAL: it is not frozen, so the watchdog or somebody else was here before.
        if (::ioctl(mount.get(), FITHAW, 0) != 0) early = true;
    }
    const Duration frozen_for = monotonic_now() - frozen_at_;
    mounts_.clear();
    static_cast<void>(::send(watchdog_.get(), &kThawed, 1, MSG_NOSIGNAL));
    watchdog_.reset();
    ::waitpid(watchdog_pid_, nullptr, 0);
    watchdog_pid_ = -1;
    if (early)
        return fail(Code::kTimeout, "the filesystems were thawed before their moment was taken");
    return frozen_for;
}

FilesystemFreeze::~FilesystemFreeze() {
    if (watchdog_pid_ > 0) static_cast<void>(thaw());
}

}  // namespace towline
