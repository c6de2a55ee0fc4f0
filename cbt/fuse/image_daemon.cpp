// SPDX-License-Identifier: Apache-2.0
// Start, life and end of the daemon of a tracked mount.
//
// Handing over: the predecessor answers what it has read and reads no more, saves the maps as at a
// clean end, and gives the connection away. The successor opens the image, says "running" in the
// log and tells the predecessor that it is ready; only then may neither go back. A successor that
// fails before leaves everything to the predecessor. At no moment do two answer, and requests that
// nobody has read wait in the kernel.

#include "cbt/fuse/image_daemon.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <thread>
#include <unistd.h>

#include "cbt/fuse/control_client.hpp"
#include "cbt/fuse/fuse_mount.hpp"
#include "io/durable_file.hpp"

namespace towline {

namespace {

constexpr int kAliveMs = 5000;
constexpr int kGoBackTries = 100;
constexpr auto kGoBackPause = std::chrono::milliseconds(20);

}  // namespace

ServedImage ImageDaemon::served() const {
    return {.image = &tracking_->image(),
            .image_fd = tracking_->image_fd(),
            .control_path = control_->path().string()};
}

Status ImageDaemon::open_tracking() {
    tracking_ = TRY(ImageTracking::open(options_.tracking));
    const std::string name = tracking_->image().status().tracker.text() + ".sock";
    ControlServer control = TRY(ControlServer::open(options_.run_folder / "fuse" / name));
    // It may be the old one's name too.
    if (control_ && control_->path() == control.path()) control_->leave();
    control_.reset();
    control_.emplace(std::move(control));
    return {};
}

Status ImageDaemon::begin_serving() {
    return server_->start(options_.thread_count, [this] {
        const std::uint64_t one = 1;
        (void)!::write(unmounted_.get(), &one, sizeof one);
    });
}

// All is as before the hand-over, and the maps are as they were saved for it.
Status ImageDaemon::go_back() {
    goes_back_ = false;
    // The successor's locks may outlive its socket by a moment.
    Status opened = open_tracking();
    for (int attempt = 0; !opened && attempt < kGoBackTries; ++attempt) {
        std::this_thread::sleep_for(kGoBackPause);
        opened = open_tracking();
    }
    if (!opened) return opened;
    server_->serve(served());
    return begin_serving();
}

Result<ImageDaemon::Inherited> ImageDaemon::take_over() {
    FuseControl predecessor = TRY(FuseControl::of_mount(options_.mountpoint));
    auto [reply, device] = TRY(predecessor.call({.command = fuse_control::Command::kHandOver}));
    if (!device) return fail(Code::kProtocol, "the daemon handed over no connection");
    return Inherited{std::move(device), std::move(reply.init), predecessor.take_socket()};
}

Result<std::unique_ptr<ImageDaemon>> ImageDaemon::start(DaemonOptions options) {
    std::unique_ptr<ImageDaemon> daemon(new ImageDaemon(std::move(options)));
    const DaemonOptions& wanted = daemon->options_;
    daemon->unmounted_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!daemon->unmounted_) return fail_errno("eventfd");
    if (!wanted.take_over) TRY_STATUS(check_mountpoint(wanted.mountpoint));
    if (!wanted.store_folder.empty()) TRY_STATUS(make_folder(wanted.store_folder));

    Inherited inherited;
    if (wanted.take_over) inherited = TRY(daemon->take_over());
    TRY_STATUS(daemon->open_tracking());
    Fd device = wanted.take_over
                    ? std::move(inherited.device)
                    : TRY(mount_fuse(wanted.mountpoint, {.allow_other = wanted.allow_other}));
    auto server =
        FuseServer::create(std::move(device), daemon->served(), std::move(inherited.init));
    if (!server) {
        if (!wanted.take_over) (void)unmount_fuse(wanted.mountpoint);
        return std::unexpected(server.error());
    }
    daemon->server_ = std::move(*server);
    if (wanted.take_over) {
        FuseControl predecessor(std::move(inherited.predecessor));
        // An answer, or the end of whoever should give it: either way nobody else answers the
        // kernel.
        const auto answered = predecessor.call({.command = fuse_control::Command::kReady});
        if (!answered && answered.error().code != Code::kDisconnected)
            return std::unexpected(answered.error());
    }
    TRY_STATUS(daemon->begin_serving());
    return daemon;
}

Result<ImageDaemon::Ended> ImageDaemon::run(int signals) {
    bool unmounted = false;
    while (!unmounted && !handed_over_) {
        std::vector<struct pollfd> waited{{unmounted_.get(), POLLIN, 0}, {signals, POLLIN, 0}};
        control_->add_to(waited);
        if (::poll(waited.data(), waited.size(), kAliveMs) < 0 && errno != EINTR)
            return fail_errno("waiting for requests");
        unmounted = waited[0].revents != 0;
        if (waited[1].revents != 0) {
            struct signalfd_siginfo signal {};
            (void)!::read(signals, &signal, sizeof signal);
            const Status done = unmount_fuse(options_.mountpoint);
            if (!done) options_.log("asked to end, and goes on: " + done.error().text());
        }
        control_->serve(
            waited, [this](auto client, const auto& request) { return answer(client, request); },
            [this](auto client) { client_gone(client); });
        if (goes_back_) TRY_STATUS(go_back());
        if (tracking_) tracking_->say_alive();
    }
    if (handed_over_) {
        control_->leave();
        return Ended::kHandedOver;
    }
    server_->stop();
    TRY_STATUS(tracking_->close());
    return Ended::kUnmounted;
}

}  // namespace towline
