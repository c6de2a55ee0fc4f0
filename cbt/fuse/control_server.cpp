// SPDX-License-Identifier: Apache-2.0
// Control requests of a tracked mount, one after the other. Only root and the daemon's own user are
// listened to. A client that sends what is no request, or does not read its replies, is let go; so
// is, with all it had begun, one that ends.

#include "cbt/fuse/control_server.hpp"

#include <algorithm>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "io/durable_file.hpp"

namespace towline {

namespace {

bool may_control(int client) {
    struct ucred peer {};
    socklen_t length = sizeof peer;
    if (::getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return false;
    return peer.uid == 0 || peer.uid == ::geteuid();
}

short events_of(const std::vector<struct pollfd>& waited, int fd) {
    const auto found = std::ranges::find(waited, fd, &pollfd::fd);
    return found == waited.end() ? short{0} : found->revents;
}

struct sockaddr_un address_of(const std::string& path) {
    struct sockaddr_un address {};
    address.sun_family = AF_UNIX;
    std::copy_n(path.begin(), std::min(path.size(), sizeof address.sun_path - 1), address.sun_path);
    return address;
}

bool refuses(const std::string& path) {
    const Fd asking(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const struct sockaddr_un address = address_of(path);
    return asking &&
           ::connect(asking.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) !=
               0 &&
           errno == ECONNREFUSED;
}

// Those of daemons that were killed: an image that is served again may be another tracker's by
// then.
void remove_dead(const std::filesystem::path& folder) {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
        const std::string path = entry.path().string();
        if (entry.path().extension() == ".sock" && path.size() < sizeof(sockaddr_un::sun_path) &&
            refuses(path))
            ::unlink(path.c_str());
    }
}

}  // namespace

Result<ControlServer> ControlServer::open(const std::filesystem::path& path) {
    TRY_STATUS(make_folder(path.parent_path()));
    // Else one that was dead a moment ago could be another daemon's by the time that it is removed.
    const Fd folder(::open(path.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder || ::flock(folder.get(), LOCK_EX) != 0)
        return fail_errno("locking the folder " + path.parent_path().string());
    remove_dead(path.parent_path());
    const std::string beside = path.string() + ".new";
    const struct sockaddr_un address = address_of(beside);
    if (beside.size() >= sizeof address.sun_path)
        return fail(Code::kInvalid, "the path of the control socket " + path.string() +
                                        " is too long; choose a shorter --run-dir");
    Fd listener(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!listener) return fail_errno("making a control socket");
    ::unlink(beside.c_str());
    if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::chmod(beside.c_str(), 0600) != 0 || ::listen(listener.get(), 16) != 0 ||
        // Renamed, so that a successor's is there before its predecessor's is gone.
        ::rename(beside.c_str(), path.c_str()) != 0)
        return fail_errno("making the control socket " + path.string());
    return ControlServer(std::move(listener), path);
}

void ControlServer::remove() {
    if (!path_.empty() && listener_) ::unlink(path_.c_str());
    path_.clear();
}

void ControlServer::add_to(std::vector<struct pollfd>& waited) const {
    if (clients_.size() < kClientsMax) waited.push_back({listener_.get(), POLLIN, 0});
    for (const Fd& client : clients_)
        waited.push_back({client.get(), POLLIN, 0});
}

void ControlServer::serve(const std::vector<struct pollfd>& waited, const Serve& serve,
                          const Gone& gone) {
    for (auto client = clients_.begin(); client != clients_.end();) {
        const bool keep =
            events_of(waited, client->get()) == 0 || serve_client(client->get(), serve);
        if (!keep) gone(client->get());
        client = keep ? std::next(client) : clients_.erase(client);
    }
    if (events_of(waited, listener_.get()) != 0) accept_client();
}

void ControlServer::accept_client() {
    Fd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (client && may_control(client.get())) clients_.push_back(std::move(client));
}

bool ControlServer::serve_client(int client, const Serve& serve) {
    auto received = fuse_control::receive_message(client, Duration{});
    if (!received || !*received) return false;
    const auto request = fuse_control::decode_request((*received)->bytes);
    Answer answer;
    if (request)
        answer = serve(client, *request);
    else
        answer.reply.error = request.error();
    const bool sent =
        fuse_control::send_message(client, fuse_control::encode(answer.reply), answer.fd.get())
            .has_value();
    return sent && request.has_value();
}

}  // namespace towline
