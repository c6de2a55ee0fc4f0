// SPDX-License-Identifier: Apache-2.0
// The user's own ssh, with whatever configuration, agent and keys it has: nothing of that is known
// here.

#include "tools/towline/daemon_link.hpp"

#include <algorithm>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace towline {

namespace {

constexpr std::string_view kScheme = "ssh://";

Result<Fd> connect_here(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path)
        return fail(Code::kInvalid, "the path of a socket has at most 107 bytes: " + path);
    std::copy(path.begin(), path.end(), address.sun_path);
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) return fail_errno("cannot make a socket");
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        const bool denied = errno == EACCES || errno == EPERM;
        const Error error = system_error(errno, "cannot talk to the daemon at " + path);
        return fail(Code::kDisconnected, error.text() + (denied ? " (are you in the group of the "
                                                                  "socket?)"
                                                                : " (is towlined running? another "
                                                                  "--socket?)"));
    }
    return fd;
}

// ssh hands the words to a shell of the other side.
std::string quoted(const std::string& word) {
    std::string text = "'";
    for (const char each : word)
        text += each == '\'' ? "'\\''" : std::string(1, each);
    return text + "'";
}

Result<std::vector<std::string>> ssh_words(const DaemonPlace& place) {
    const std::unexpected<Error> wrong =
        fail(Code::kInvalid, "--host " + place.host + ": write ssh://USER@HOST[:PORT]");
    if (!place.host.starts_with(kScheme)) return wrong;
    std::string where = place.host.substr(kScheme.size());
    std::string port;
    // The colons of an IPv6 address stand in brackets, which ssh does not want.
    const std::size_t colon = where.rfind(':');
    if (colon != std::string::npos && where.find(']', colon) == std::string::npos) {
        port = where.substr(colon + 1);
        where.erase(colon);
        if (port.empty() || port.find_first_not_of("0123456789") != std::string::npos) return wrong;
    }
    std::erase_if(where, [](char each) { return each == '[' || each == ']'; });
    if (where.empty() || where.starts_with('-') || where.find_first_of("/ ") != std::string::npos)
        return wrong;
    std::vector<std::string> words{"ssh", "-T"};
    if (!port.empty()) words.insert(words.end(), {"-p", port});
    words.insert(words.end(), {"--", where, "towline", "dial-stdio", "--socket"});
    words.push_back(quoted(place.socket));
    return words;
}

Result<pid_t> start_ssh(std::vector<std::string> words, int stream) {
    std::vector<char*> pointers;
    pointers.reserve(words.size() + 1);
    for (std::string& word : words)
        pointers.push_back(word.data());
    pointers.push_back(nullptr);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, stream, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, stream, STDOUT_FILENO);
    pid_t process = -1;
    const int error = ::posix_spawnp(&process, "ssh", &files, nullptr, pointers.data(), environ);
    posix_spawn_file_actions_destroy(&files);
    if (error != 0) return fail_errno(error, "cannot run ssh (is it installed?)");
    return process;
}

}  // namespace

Result<DaemonLink> DaemonLink::connect(const DaemonPlace& place) {
    if (place.host.empty()) return DaemonLink(TRY(connect_here(place.socket)), -1);
    auto words = TRY(ssh_words(place));
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return fail_errno("cannot make a pair of sockets");
    Fd ours(ends[0]);
    const Fd theirs(ends[1]);
    const pid_t ssh = TRY(start_ssh(std::move(words), theirs.get()));
    return DaemonLink(std::move(ours), ssh);
}

DaemonLink::~DaemonLink() {
    if (ssh_ < 0) return;
    fd_.reset();
    while (::waitpid(ssh_, nullptr, 0) < 0 && errno == EINTR) {
    }
}

}  // namespace towline
