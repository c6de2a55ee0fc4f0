// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <list>
#include <poll.h>
#include <vector>

#include "cbt/fuse/control_format.hpp"

namespace towline {

// The socket by which a tracked mount is controlled, served by one thread among other things that
// it waits for. What the requests do is its owner's.
class ControlServer {
  public:
    static constexpr std::size_t kClientsMax = 32;

    // Who asked, so that what it began can be ended with it.
    using Client = int;
    struct Answer {
        fuse_control::Reply reply;
        Fd fd;  // to go with it
    };
    using Serve = std::function<Answer(Client, const fuse_control::Request&)>;
    using Gone = std::function<void(Client)>;

    // Replaces a socket that a dead daemon left.
    static Result<ControlServer> open(const std::filesystem::path& path);
    ControlServer(ControlServer&&) = default;
    ControlServer& operator=(ControlServer&&) = delete;
    ~ControlServer() { remove(); }

    const std::filesystem::path& path() const { return path_; }
    // A successor has its own socket under this name.
    void leave() { path_.clear(); }
    void remove();

    // What to wait for, and what to do then. Others' entries may stand in `waited` too.
    void add_to(std::vector<struct pollfd>& waited) const;
    void serve(const std::vector<struct pollfd>& waited, const Serve& serve, const Gone& gone);

  private:
    ControlServer(Fd listener, std::filesystem::path path)
        : listener_(std::move(listener)), path_(std::move(path)) {}
    void accept_client();
    // False: it is gone, or not worth keeping.
    bool serve_client(int client, const Serve& serve);

    Fd listener_;
    std::filesystem::path path_;
    std::list<Fd> clients_;
};

}  // namespace towline
