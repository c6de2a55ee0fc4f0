// SPDX-License-Identifier: Apache-2.0
// Does the kernel run the programs for each change? It counts the runs that it leaves out because a
// program interrupted itself. It does not count where it runs none at all: kernels have been met
// that run no eBPF program while a certain process is interrupted, and completions come in whatever
// process is running. So the disk's own statistics are held against the sum that the programs made.
//
// A program that saw all is enough: each change that it counted is marked. One that is behind may
// have been left out by recursion, which the others make up for. When every one is behind, and one
// of them without a single recursion, changes went by unseen.
//
// Statistics that are switched off (queue/iostats) stand still, so the disk is never ahead.

#include "cbt/bpf/tally.hpp"

#include <algorithm>
#include <optional>

namespace towline {
namespace {

std::int64_t signed_difference(std::uint64_t disk, std::uint64_t seen) {
    return static_cast<std::int64_t>(disk - seen);
}

void agree(tl_tally& tally, const TallyReading& reading, std::size_t program) {
    tally.ahead[program] = signed_difference(reading.disk_after, reading.seen[program]);
}

}  // namespace

void begin_tally(tl_tally& tally, const TallyReading& reading) {
    tally = {};
    for (std::size_t i = 0; i < reading.programs; ++i) {
        agree(tally, reading, i);
        tally.misses[i] = reading.misses[i];
    }
}

void reckon(tl_tally& tally, const TallyReading& reading) {
    std::optional<std::int64_t> least;
    bool unexplained = false;
    for (std::size_t i = 0; i < reading.programs; ++i) {
        const std::int64_t missing =
            signed_difference(reading.disk_before, reading.seen[i]) - tally.ahead[i];
        least = std::min(least.value_or(missing), missing);
        if (missing > 0) {
            unexplained |= reading.misses[i] == tally.misses[i];
            agree(tally, reading, i);
        }
        tally.misses[i] = reading.misses[i];
    }
    if (least && *least > 0 && unexplained) tally.unseen += static_cast<std::uint64_t>(*least);
}

}  // namespace towline
