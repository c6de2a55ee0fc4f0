// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>

#include "userspace/vault/growth.hpp"
#include "userspace/vault/vault.hpp"

namespace towline {

// What `restore --grow` will do when the point is on the device. All that can be refused is refused
// here, before anything is written.
Result<GrowthPlan> plan_growth_onto(const VaultName& point, const KeySource& keys,
                                    const std::string& device);
// The same of `export --grow SIZE`.
Result<GrowthPlan> plan_growth_to(const VaultName& point, const KeySource& keys,
                                  const std::string& file, std::uint64_t bytes);

nlohmann::json json_of(const Growth& growth);
std::string text_of(const Growth& growth);

}  // namespace towline
