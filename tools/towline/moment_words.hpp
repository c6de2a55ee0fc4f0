// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <CLI/CLI.hpp>

namespace towline {

// What knows the changes of a live volume, and what it is read from: the same words wherever a run
// is ordered.
struct MomentWords {
    std::string tracker = "auto";
    std::string snapshot = "auto";
    std::string store = "0";
    bool freeze = true;

    std::uint64_t store_bytes() const;  // of what the option's check let pass
};

void add_moment_options(CLI::App& command, MomentWords& words);

}  // namespace towline
