// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <vector>

#include "cbt/change_map.hpp"

namespace towline {

// Blocks that a tracker holds to be unchanged, drawn at random: not of the plan, and not what the
// volume holds for the tracker itself. `count` at most, fewer where few are left.
ChangeMap audit_sample(const ChangeMap& plan, const std::vector<Extent>& excluded,
                       std::uint64_t count, const std::function<std::uint64_t()>& draw);

// The marks that both have.
ChangeMap common(const ChangeMap& one, const ChangeMap& other);

}  // namespace towline
