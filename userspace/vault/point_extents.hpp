// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cbt/extent.hpp"
#include "userspace/vault/point_folder.hpp"

namespace towline {

struct PointExtent {
    Extent range;
    bool zeros = false;  // else it has to be read
    bool operator==(const PointExtent&) const = default;
};

// What a range of a volume is made of, without a look at data: in order, without gaps, no two of a
// kind beside each other. With what was written to its overlay until now.
Result<std::vector<PointExtent>> extents_of(const PointFolder::File& file, Extent range);

}  // namespace towline
