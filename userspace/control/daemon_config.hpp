// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "io/result.hpp"
#include "userspace/control/job_service.hpp"
#include "userspace/control/roles.hpp"

namespace towline {

// towlined's configuration: what the file says, and what holds where it is silent (docs/cli.md).
struct DaemonConfig {
    RunPlaces places{.state_folder = "/var/lib/towline"};
    std::filesystem::path socket = "/run/towline/api.sock";
    std::string group = "towline";   // of the socket, where there is such a group
    std::uint16_t metrics_port = 0;  // on the loopback; 0: none
    Scheduler::Limits limits;
    Store::Keep keep;
    Roles roles;

    // A key that is not known is an error, and so is a value out of its range: the text names the
    // file, line and key.
    static Result<DaemonConfig> read(const std::filesystem::path& path);
};

}  // namespace towline
