// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "io/result.hpp"
#include "userspace/control/http.hpp"

namespace towline {

// Who may what: names of users ("backup"), of groups ("@towline"), or "*" for whoever can connect.
// root and the daemon's own user are admins, whatever stands here: they could change its files.
struct Roles {
    std::vector<std::string> admin;
    std::vector<std::string> operators = {"@towline"};
    std::vector<std::string> viewer = {"*"};

    std::optional<Role> of(std::uint32_t uid, std::uint32_t gid) const;
};

// The peer of a Unix socket, as the kernel noted it when it connected.
Result<Peer> peer_of(int socket, const Roles& roles);

}  // namespace towline
