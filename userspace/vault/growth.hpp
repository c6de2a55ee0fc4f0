// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "userspace/vault/growth_plan.hpp"

namespace towline {

// Whether all that the plan takes is here: programs, loop devices, all of the filesystem, and no
// other one in use that it could be taken for. Changes nothing. `read`: the volume's bytes.
Status check_growth(const GrowthPlan& plan, const ReadVolume& read);

struct Growth {
    std::string filesystem;
    unsigned partition = 0;  // 0: the whole volume
    std::uint64_t bytes_before = 0;
    std::uint64_t bytes_after = 0;  // of the filesystem's place
};

// Grows what has just been restored to `target`, a device or file that nobody else uses. Before
// threads are made: a mount goes into a namespace of this thread's own. Cut off anywhere, the
// partition may be the old or the new one, and the filesystem is what its own journal makes of it.
Result<Growth> grow(const std::filesystem::path& target, const GrowthPlan& plan);

}  // namespace towline
