// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "io/bytes.hpp"

namespace towline {

// Whether a mount would replay nothing but the superblock. `records`: the sectors of the log from
// its tail to its head, whole records one behind the other, all of one cycle; `first_sector`: where
// in the log they begin. Pure. What is not wholly understood is a "no".
bool xfs_log_holds_superblock_only(ByteSpan records, std::uint32_t cycle,
                                   std::uint64_t first_sector);

}  // namespace towline
