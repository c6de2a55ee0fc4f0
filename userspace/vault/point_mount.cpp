// SPDX-License-Identifier: Apache-2.0
// Start, life and end of a mounted point. Reading it changes nothing, so that whatever asks it to
// end is obeyed at once: the mount goes, and who still has a file of it open is served to his end.

#include "userspace/vault/point_mount.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cbt/fuse/fuse_mount.hpp"
#include "userspace/vault/point_fuse.hpp"

namespace towline {

Result<std::unique_ptr<PointMount>> PointMount::start(PointMountOptions options) {
    std::unique_ptr<PointMount> mount(new PointMount(std::move(options)));
    const PointMountOptions& wanted = mount->options_;
    TRY_STATUS(check_mountpoint(wanted.mountpoint));
    // First of all: it must inherit no lock of the vault's.
    mount->guard_.emplace(TRY(MountGuard::start(wanted.mountpoint)));
    mount->point_ = TRY(OpenPoint::open(wanted.point, wanted.keys));
    mount->folder_ = TRY(PointFolder::open(*mount->point_, wanted.cache));
    mount->folder_->set_log(wanted.log);
    if (!wanted.scratch.empty()) TRY_STATUS(mount->folder_->overlay(wanted.scratch));
    mount->ended_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!mount->ended_) return fail_errno("eventfd");
    Fd device = TRY(mount_fuse(wanted.mountpoint, {.allow_other = wanted.allow_other,
                                                   .read_only = wanted.scratch.empty()}));
    mount->session_ =
        TRY(FuseSession::create(std::move(device), point_operations(), mount->folder_.get(), {}));
    TRY_STATUS(mount->session_->start(wanted.thread_count, [ended = mount->ended_.get()] {
        const std::uint64_t one = 1;
        (void)!::write(ended, &one, sizeof one);
    }));
    return mount;
}

Status PointMount::run(int signals) {
    for (bool asked = false;;) {
        struct pollfd waited[2]{{ended_.get(), POLLIN, 0}, {signals, POLLIN, 0}};
        if (::poll(waited, 2, -1) < 0 && errno != EINTR) return fail_errno("waiting for the mount");
        if (waited[0].revents != 0) return {};
        if (waited[1].revents == 0) continue;
        struct signalfd_siginfo signal {};
        (void)!::read(signals, &signal, sizeof signal);
        if (asked) return {};
        asked = true;
        const Status detached = detach_fuse(options_.mountpoint);
        if (!detached) options_.log("asked to end: " + detached.error().text());
    }
}

}  // namespace towline
