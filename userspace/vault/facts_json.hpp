// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "io/volume_facts.hpp"

namespace towline {

// As a point has them, and `point show --json`. The volume's size stands beside them.
nlohmann::json to_json(const VolumeFacts& facts);
// Throws what nlohmann throws for what is not of its form.
VolumeFacts facts_from_json(const nlohmann::json& json, std::uint64_t volume_bytes);

}  // namespace towline
