// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include <CLI/CLI.hpp>

namespace towline {

void add_support_command(CLI::App& app, std::function<int()>& run);

}  // namespace towline
