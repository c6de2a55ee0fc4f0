// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include <CLI/CLI.hpp>

namespace towline {

// Of the group `towline point`, in files of their own.
void add_point_mount_command(CLI::App& group, std::function<int()>& run);
void add_point_serve_command(CLI::App& group, std::function<int()>& run);

}  // namespace towline
