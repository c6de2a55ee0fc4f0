// SPDX-License-Identifier: Apache-2.0
// Making connections. Setting one up blocks (with a limit); from then on it belongs to an IoEngine.

#include "transport/socket.hpp"

#include <cstring>
#include <fcntl.h>
#include <memory>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

namespace towline {

namespace {

constexpr int kBacklog = 128;
// Data that the peer's kernel has not acknowledged for this long means that the peer is gone.
constexpr unsigned kUnacknowledgedMsMax = 60'000;

struct FreeAddresses {
    void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
using AddressList = std::unique_ptr<addrinfo, FreeAddresses>;

Result<AddressList> resolve(const Address& address, int flags) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags;
    addrinfo* list = nullptr;
    const int error =
        ::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &list);
    if (error != 0) {
        return fail(Code::kIo,
                    "cannot look up the host of " + address.text() + ": " + ::gai_strerror(error));
    }
    return AddressList(list);
}

sockaddr_un unix_name(const Address& address) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path, address.path.data(), address.path.size());
    return name;
}

void set_option(int fd, int level, int option, int value) {
    // Best effort: a stream without the option still works.
    static_cast<void>(::setsockopt(fd, level, option, &value, sizeof value));
}

void tune_tcp(int fd) {
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(kUnacknowledgedMsMax));
}

Status await_connected(int fd, Duration timeout) {
    pollfd wait{.fd = fd, .events = POLLOUT, .revents = 0};
    const auto wait_ms = std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count();
    const int ready = ::poll(&wait, 1, static_cast<int>(wait_ms));
    if (ready == 0) return fail_errno(ETIMEDOUT, "");
    int error = 0;
    socklen_t length = sizeof error;
    if (ready < 0 || ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        return fail_errno("");
    if (error != 0) return fail_errno(error, "");
    return {};
}

Result<Fd> connect_socket(int family, const sockaddr* name, socklen_t length, Duration timeout) {
    Fd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return fail_errno("");
    if (::connect(fd.get(), name, length) < 0) {
        if (errno != EINPROGRESS && errno != EAGAIN) return fail_errno("");
        TRY_STATUS(await_connected(fd.get(), timeout));
    }
    // Engines wait for readiness themselves.
    const int flags = ::fcntl(fd.get(), F_GETFL);
    if (flags < 0 || ::fcntl(fd.get(), F_SETFL, flags & ~O_NONBLOCK) < 0) return fail_errno("");
    return fd;
}

Error cannot_connect(const Address& address, Error error) {
    error.context = "cannot connect to " + address.text() + "; is `towline serve` listening there?";
    error.code = error.system_errno == ETIMEDOUT ? Code::kTimeout : Code::kDisconnected;
    return error;
}

}  // namespace

Result<Fd> connect_to(const Address& address, Duration timeout) {
    if (address.kind == Address::Kind::kUnix) {
        const sockaddr_un name = unix_name(address);
        auto fd =
            connect_socket(AF_UNIX, reinterpret_cast<const sockaddr*>(&name), sizeof name, timeout);
        if (!fd) return std::unexpected(cannot_connect(address, fd.error()));
        return fd;
    }
    const AddressList list = TRY(resolve(address, 0));
    Error last = system_error(EADDRNOTAVAIL, "");
    for (const addrinfo* each = list.get(); each != nullptr; each = each->ai_next) {
        auto fd = connect_socket(each->ai_family, each->ai_addr, each->ai_addrlen, timeout);
        if (fd) {
            tune_tcp(fd->get());
            return fd;
        }
        last = fd.error();
    }
    return std::unexpected(cannot_connect(address, last));
}

Result<std::pair<Fd, Fd>> connected_pair() {
    int fds[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
        return fail_errno("cannot make a socket pair");
    }
    return std::pair{Fd(fds[0]), Fd(fds[1])};
}

namespace {

Result<Fd> listen_unix(const Address& address) {
    const sockaddr_un name = unix_name(address);
    struct stat status {};
    if (::lstat(address.path.c_str(), &status) == 0) {
        if (!S_ISSOCK(status.st_mode)) {
            return fail(Code::kRefused,
                        address.path + " exists and is no socket; choose another path");
        }
        if (connect_socket(AF_UNIX, reinterpret_cast<const sockaddr*>(&name), sizeof name, 1s)) {
            return fail(Code::kBusy, "another process serves " + address.text());
        }
        ::unlink(address.path.c_str());
    }
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) return fail_errno("cannot make a socket");
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) < 0 ||
        ::listen(fd.get(), kBacklog) < 0) {
        return fail_errno("cannot listen on " + address.text());
    }
    return fd;
}

Result<Fd> listen_tcp(const Address& address) {
    const AddressList list = TRY(resolve(address, AI_PASSIVE));
    Fd fd(::socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) return fail_errno("cannot make a socket");
    set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (::bind(fd.get(), list->ai_addr, list->ai_addrlen) < 0 || ::listen(fd.get(), kBacklog) < 0) {
        return fail_errno("cannot listen on " + address.text());
    }
    return fd;
}

std::uint16_t bound_port(int fd) {
    sockaddr_storage name{};
    socklen_t length = sizeof name;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length) < 0) return 0;
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&name);
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&name);
    return ntohs(name.ss_family == AF_INET6 ? v6->sin6_port : v4->sin_port);
}

}  // namespace

Result<Listener> Listener::open(const Address& address) {
    Listener listener;
    listener.address_ = address;
    if (address.kind == Address::Kind::kUnix) {
        listener.fd_ = TRY(listen_unix(address));
    } else {
        listener.fd_ = TRY(listen_tcp(address));
        listener.address_.port = bound_port(listener.fd_.get());
    }
    return listener;
}

Listener::~Listener() {
    if (fd_ && address_.kind == Address::Kind::kUnix) ::unlink(address_.path.c_str());
}

Result<Fd> Listener::accept() {
    for (;;) {
        Fd fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (fd) {
            if (address_.kind == Address::Kind::kTcp) tune_tcp(fd.get());
            return fd;
        }
        if (errno == EINTR || errno == ECONNABORTED) continue;
        if (errno == EINVAL) return fail(Code::kCancelled, "the listener was shut down");
        return fail_errno("cannot accept a connection on " + address_.text());
    }
}

}  // namespace towline
