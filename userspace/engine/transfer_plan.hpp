// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "cbt/change_map.hpp"

namespace towline {

// What a run sends, in the order of the volume: runs of blocks to be read, and ranges that are
// known to be zeros without being read (holes of the source). Pure; walks the plan once, remembers
// only where it is.
class TransferPlan {
  public:
    struct Step {
        BlockRun run;
        Extent extent;
        bool zeros = false;
    };

    // `data`: sorted ranges outside of which the source is holes. `blocks_max`: the longest run to
    // be read.
    TransferPlan(const ChangeMap& blocks, const std::vector<Extent>& data, std::uint64_t blocks_max)
        : blocks_(blocks), data_(data), blocks_max_(blocks_max) {}

    std::optional<Step> next();
    bool exhausted() const { return exhausted_; }

  private:
    const ChangeMap& blocks_;
    const std::vector<Extent>& data_;
    std::uint64_t blocks_max_;
    std::uint64_t next_block_ = 0;
    std::size_t next_data_ = 0;
    bool exhausted_ = false;
};

}  // namespace towline
