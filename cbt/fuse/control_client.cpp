// SPDX-License-Identifier: Apache-2.0
// The client's side of the control socket of a tracked mount.

#include "cbt/fuse/control_client.hpp"

#include <algorithm>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace towline {

namespace {

// Beside what a request itself may take.
constexpr Duration kAnswerMax = 30s;

std::unexpected<Error> nobody(const std::filesystem::path& socket) {
    return fail(Code::kDisconnected,
                "no daemon answers at " + socket.string() +
                    "; unmount what is left of the mount (umount), then mount the image again "
                    "(towline mount-image)");
}

}  // namespace

Result<FuseControl> FuseControl::connect(const std::filesystem::path& socket) {
    // By a descriptor's name, since a socket's path may be longer than an address.
    const Fd named(::open(socket.c_str(), O_PATH | O_CLOEXEC));
    if (!named) return nobody(socket);
    struct sockaddr_un address {};
    address.sun_family = AF_UNIX;
    std::ranges::copy("/proc/self/fd/" + std::to_string(named.get()), address.sun_path);
    Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!fd) return fail_errno("making a socket");
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        if (errno == EACCES)
            return fail(Code::kRefused,
                        socket.string() + " is not open to this user; ask as root (sudo)");
        return nobody(socket);
    }
    return FuseControl(std::move(fd));
}

Result<FuseControl> FuseControl::of_mount(const std::filesystem::path& mountpoint) {
    return connect(mountpoint / "control");
}

Result<FuseControl::Answer> FuseControl::call(const fuse_control::Request& request) {
    const Status sent = fuse_control::send_message(socket_.get(), fuse_control::encode(request));
    if (!sent && sent.error().system_errno == EPIPE)
        return fail(Code::kDisconnected, "the daemon of the mount has ended");
    if (!sent) return std::unexpected(sent.error());
    auto received = TRY(fuse_control::receive_message(
        socket_.get(), kAnswerMax + std::chrono::milliseconds(request.drain_ms)));
    if (!received) return fail(Code::kDisconnected, "the daemon of the mount has ended");
    Answer answer{TRY(fuse_control::decode_reply(received->bytes)), std::move(received->fd)};
    if (answer.reply.error) return std::unexpected(*answer.reply.error);
    return answer;
}

}  // namespace towline
