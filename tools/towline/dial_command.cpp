// SPDX-License-Identifier: Apache-2.0
// `towline dial-stdio`: the daemon's socket as standard input and output, for who comes by ssh.

#include <array>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/towline/api_command.hpp"
#include "tools/towline/commands.hpp"

namespace towline {

namespace {

constexpr std::size_t kPieceBytes = std::size_t{64} << 10;

bool write_all(int to, const char* data, std::size_t length) {
    while (length > 0) {
        const ssize_t written = ::write(to, data, length);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        data += written;
        length -= static_cast<std::size_t>(written);
    }
    return true;
}

// False: that direction is at its end.
bool pass_on(int from, int to) {
    std::array<char, kPieceBytes> piece;
    const ssize_t got = ::read(from, piece.data(), piece.size());
    if (got < 0) return errno == EINTR || errno == EAGAIN;
    return got > 0 && write_all(to, piece.data(), static_cast<std::size_t>(got));
}

// Until the daemon has nothing more to say. What the other side has said in full is told to it.
void relay(int socket) {
    std::array<pollfd, 2> ways{{{STDIN_FILENO, POLLIN, 0}, {socket, POLLIN, 0}}};
    while (true) {
        if (::poll(ways.data(), ways.size(), -1) < 0 && errno != EINTR) return;
        if (ways[1].revents != 0 && !pass_on(socket, STDOUT_FILENO)) return;
        if (ways[0].revents != 0 && !pass_on(STDIN_FILENO, socket)) {
            ::shutdown(socket, SHUT_WR);
            ways[0].fd = -1;
        }
    }
}

}  // namespace

void add_dial_command(CLI::App& app, std::function<int()>& run) {
    auto place = std::make_shared<DaemonPlace>();
    CLI::App* command =
        app.add_subcommand("dial-stdio", "The daemon's socket as standard input and output.");
    command->add_option("--socket", place->socket, "where towlined listens")
        ->type_name("PATH")
        ->capture_default_str();
    command->callback([place, &run] {
        run = [place] {
            auto link = DaemonLink::connect(*place);
            if (!link) return report(link.error());
            const Fd socket = link->take();
            relay(socket.get());
            return 0;
        };
    });
}

}  // namespace towline
