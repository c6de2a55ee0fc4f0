// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include <CLI/CLI.hpp>

namespace towline {

// Where it is noted what was seen of a vault that a server keeps.
void add_records_option(CLI::App& command, std::string& state_dir);

// Of the group `towline point`, in files of their own.
void add_point_mount_command(CLI::App& group, std::function<int()>& run);
void add_point_serve_command(CLI::App& group, std::function<int()>& run);

}  // namespace towline
