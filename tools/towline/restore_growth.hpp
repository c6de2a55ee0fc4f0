// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "userspace/vault/growth.hpp"
#include "userspace/vault/vault_name.hpp"

namespace towline {

struct GrownPoint {
    VaultName name;
    std::string volume;  // empty: its only one
    KeySource keys;
};

// What `restore --grow` will do when the point is on the device. All that can be refused is refused
// here, before anything is written.
Result<GrowthPlan> plan_growth_onto(const GrownPoint& point, const std::string& device);
// The same of `export --grow SIZE`.
Result<GrowthPlan> plan_growth_to(const GrownPoint& point, const std::string& file,
                                  std::uint64_t bytes);

nlohmann::json json_of(const Growth& growth);
std::string text_of(const Growth& growth);

}  // namespace towline
