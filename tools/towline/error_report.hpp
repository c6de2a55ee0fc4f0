// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "io/result.hpp"

namespace towline {

// {"error": {code, message, errno, exit}}, as every command gives it with --json.
nlohmann::json json_of(const Error& error, const std::string& message);

// Says on stderr why `towline COMMAND` failed, with `json` also on stdout; the exit code.
int report_error(const std::string& command, const Error& error, bool json);

}  // namespace towline
