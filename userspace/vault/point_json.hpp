// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "userspace/vault/point.hpp"

namespace towline {

// A point as `point list --json` and the daemon's API show it.
nlohmann::json shown_form(const Point& point);

}  // namespace towline
