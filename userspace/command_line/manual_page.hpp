// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace towline {

// The part of a manual page that --help has too, in mdoc: each command, its arguments and options.
std::string manual_commands(const CLI::App& app);

// `PROGRAM --manual` prints it; --help does not tell of that (tools/manual uses it).
void add_manual_flag(CLI::App& app);

}  // namespace towline
