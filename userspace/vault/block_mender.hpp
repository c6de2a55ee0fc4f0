// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "userspace/vault/liveness.hpp"

namespace towline {

// Stored blocks that a scrub found bad: by segment, where they lay in its first generation, rising.
using BadBlocks = std::map<SegmentKey, std::vector<std::uint32_t>>;

struct MendReport {
    std::uint64_t mended_blocks = 0;  // that are again what they were
    std::uint64_t left_blocks = 0;    // of which nothing good that is equal was found
    std::uint64_t busy_blocks = 0;    // in segments that a run needs as they are
};

// A block that is bad is replaced by what a newer run has brought, where that is proved to be the
// same: by its identity where equal blocks are kept once, else by the proof of its group.
Result<MendReport> mend_blocks(const std::shared_ptr<Vault>& vault, const BadBlocks& bad);

}  // namespace towline
