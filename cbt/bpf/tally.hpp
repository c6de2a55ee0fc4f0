// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "cbt/bpf/marks_layout.h"

namespace towline {

// One look at both sides: sectors of changes that the disk itself counts as done, and those that
// each program saw. Read in the order of the members, so that the disk's first count is never ahead
// of a program that sees everything.
struct TallyReading {
    std::uint64_t disk_before = 0;
    std::size_t programs = 0;  // that see each change, or should; 0: nothing to compare
    std::array<std::uint64_t, TL_COMPLETIONS> seen{};
    std::array<std::uint64_t, TL_COMPLETIONS> misses{};  // runs that the kernel says it left out
    std::uint64_t disk_after = 0;
};

// From here on both sides agree.
void begin_tally(tl_tally& tally, const TallyReading& reading);

// Counts what the disk did and no program saw into `unseen`, which only ever grows.
void reckon(tl_tally& tally, const TallyReading& reading);

}  // namespace towline
