// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "io/clock.hpp"
#include "io/result.hpp"

namespace towline {

struct ProgramEnd {
    int exit_code = 0;  // 128 and the signal's number where one ended it
    std::string output;
    std::string complaint;  // of standard error, its last line that says something
};

// Where a program of the system is; kUnsupported when there is none of this name.
Result<std::string> find_program(const std::string& name);

// Runs a program of the system without a shell, in the C locale and with `input`, at most a pipe
// full, on its standard input. kUnsupported as above.
// After `limit` kTimeout: it is asked to end (SIGTERM), is never killed, and goes on unwatched if
// it doesn't. Nor does it end when this process does.
Result<ProgramEnd> run_program(const std::vector<std::string>& words, Duration limit,
                               const std::string& input = {});

}  // namespace towline
