// SPDX-License-Identifier: Apache-2.0
// The lock file stays: removed, it would be another file than the one a second daemon waits at.

#include "userspace/control/control_socket.hpp"

#include <cstring>
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include "io/durable_file.hpp"

namespace towline {

namespace {

constexpr int kBacklog = 128;
constexpr mode_t kMode = 0660;

// Nothing where the service manager gave none.
Result<Fd> given_socket() {
    const int count = ::sd_listen_fds(1);
    if (count < 0) return fail_errno(-count, "cannot take the service manager's sockets");
    if (count == 0) return Fd();
    Fd socket(SD_LISTEN_FDS_START);
    if (count > 1 || ::sd_is_socket_unix(socket.get(), SOCK_STREAM, 1, nullptr, 0) <= 0)
        return fail(Code::kInvalid,
                    "the service manager gave something else than one listening "
                    "Unix socket (towlined.socket)");
    return socket;
}

Status make_room(const std::filesystem::path& path) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) < 0) {
        if (errno == ENOENT) return {};
        return fail_errno("cannot look at " + path.string());
    }
    if (!S_ISSOCK(status.st_mode))
        return fail(Code::kRefused, path.string() + " is there and is no socket: remove it");
    if (::unlink(path.c_str()) < 0) return fail_errno("cannot replace " + path.string());
    return {};
}

Status give_to_group(const std::filesystem::path& path, const std::string& name) {
    std::string room(64UL * 1024, '\0');
    group entry{};
    group* found = nullptr;
    ::getgrnam_r(name.c_str(), &entry, room.data(), room.size(), &found);
    if (found == nullptr || ::geteuid() != 0) return {};
    if (::chown(path.c_str(), static_cast<uid_t>(-1), entry.gr_gid) < 0)
        return fail_errno("cannot give " + path.string() + " to the group " + name);
    return {};
}

}  // namespace

Result<ControlSocket> ControlSocket::open(const std::filesystem::path& path,
                                          const std::string& group) {
    ControlSocket control;
    control.socket_ = TRY(given_socket());
    if (control.socket_) return control;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.string().size() >= sizeof address.sun_path)
        return fail(Code::kInvalid, "the path of a socket has at most 107 bytes: " + path.string());
    std::memcpy(address.sun_path, path.c_str(), path.string().size());
    std::error_code ignored;
    std::filesystem::create_directories(path.parent_path(), ignored);
    control.lock_ =
        TRY(lock_file(path.string() + ".lock", "the socket " + path.string(), kHolderDies));
    TRY_STATUS(make_room(path));
    control.socket_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!control.socket_) return fail_errno("cannot make a socket");
    // Bound without any right for others, opened up only when it is its group's.
    const mode_t before = ::umask(0177);
    const int bound =
        ::bind(control.socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    const int bind_errno = errno;
    ::umask(before);
    if (bound < 0) return fail_errno(bind_errno, "cannot listen at " + path.string());
    control.path_ = path;
    TRY_STATUS(give_to_group(path, group));
    if (::chmod(path.c_str(), kMode) < 0) return fail_errno("cannot open up " + path.string());
    if (::listen(control.socket_.get(), kBacklog) < 0)
        return fail_errno("cannot listen at " + path.string());
    return control;
}

ControlSocket::~ControlSocket() {
    if (socket_ && !path_.empty()) ::unlink(path_.c_str());
}

}  // namespace towline
