// SPDX-License-Identifier: Apache-2.0
// One shape of a failure for people, for programs and for the shell.

#include "tools/towline/error_report.hpp"

#include <cstdio>

#include <nlohmann/json.hpp>

#include "tools/towline/exit_codes.hpp"

namespace towline {

nlohmann::json json_of(const Error& error, const std::string& message) {
    return {{"error",
             {{"code", code_name(error.code)},
              {"message", message},
              {"errno", error.system_errno},
              {"exit", exit_code(error.code)}}}};
}

int report_error(const std::string& command, const Error& error, bool json) {
    std::fprintf(stderr, "towline %s: %s\n", command.c_str(), error.text().c_str());
    if (json) std::printf("%s\n", json_of(error, error.context).dump(2).c_str());
    return exit_code(error.code);
}

}  // namespace towline
