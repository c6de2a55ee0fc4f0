// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "userspace/vault/series_log.hpp"

namespace towline {

struct RepairReport {
    std::vector<std::string> set_aside;           // objects, by their old names
    std::vector<std::uint64_t> forgotten_points;  // entries that are damaged or lost
};

// Lets a name be written to again whose log has damaged entries: they are set aside (quarantine/),
// and points that had their entries there are no longer counted. Contents of points are not
// touched.
Result<RepairReport> repair_log(const std::shared_ptr<Vault>& vault, const std::string& series);

}  // namespace towline
