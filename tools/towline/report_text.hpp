// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "userspace/engine/run_report.hpp"

namespace towline {

nlohmann::json json_of(const RunReport& report, const std::string& source,
                       const std::string& target);
void print_summary(const RunReport& report);

}  // namespace towline
