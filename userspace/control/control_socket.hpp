// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "io/fd.hpp"
#include "io/result.hpp"

namespace towline {

// The socket that the API listens on: the service manager's, or one of ours at a path. Whoever
// holds the lock beside that path owns it: a file that an ended daemon left there is replaced.
class ControlSocket {
  public:
    // The group may not be there: then the socket is the daemon's own group's.
    static Result<ControlSocket> open(const std::filesystem::path& path, const std::string& group);

    ControlSocket(ControlSocket&&) = default;
    ControlSocket& operator=(ControlSocket&&) = delete;
    ~ControlSocket();

    int fd() const { return socket_.get(); }

  private:
    ControlSocket() = default;
    Fd lock_;
    Fd socket_;
    std::filesystem::path path_;  // to be removed; empty: not ours
};

}  // namespace towline
