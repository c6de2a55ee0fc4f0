// SPDX-License-Identifier: Apache-2.0
// A sample finds a tracker that loses marks often. One that lost a single mark, of a block that is
// never written again, is found only by who looks at every block: this one, a part a run. The time
// that a part stands for is counted, not the time that has passed, so that what is too little for a
// block now is not lost.

#include "userspace/engine/rolling_audit.hpp"

#include <algorithm>

namespace towline {

RollingPart rolling_part(const RollingAudit& before, std::int64_t now_ms, Duration period,
                         const ChangeMap& geometry, std::uint64_t blocks_max) {
    const std::uint64_t blocks = geometry.block_count();
    RollingPart part{.first_block = before.next_bytes / geometry.block_bytes() % blocks,
                     .after = before};
    const auto period_ms = std::chrono::duration_cast<std::chrono::milliseconds>(period).count();
    if (before.covered_ms <= 0 || before.covered_ms > now_ms || period_ms <= 0) {
        part.after.covered_ms = now_ms;
        return part;
    }
    const std::int64_t passed_ms = std::min(now_ms - before.covered_ms, period_ms);
    const double ms_a_block = static_cast<double>(period_ms) / static_cast<double>(blocks);
    const auto due = static_cast<std::uint64_t>(static_cast<double>(passed_ms) / ms_a_block);
    part.block_count = std::min({due, blocks, blocks_max});
    const auto done_ms =
        static_cast<std::int64_t>(static_cast<double>(part.block_count) * ms_a_block);
    part.after.covered_ms = now_ms - passed_ms + std::min(done_ms, passed_ms);
    part.after.next_bytes = (part.first_block + part.block_count) % blocks * geometry.block_bytes();
    return part;
}

ChangeMap rolling_blocks(const RollingPart& part, const ChangeMap& plan,
                         const std::vector<Extent>& excluded) {
    ChangeMap blocks(plan.volume_bytes(), plan.block_bytes());
    if (part.block_count == 0) return blocks;
    const std::uint64_t to_end = std::min(part.block_count, plan.block_count() - part.first_block);
    blocks.mark_blocks({.first = part.first_block, .count = to_end});
    if (part.block_count > to_end)
        blocks.mark_blocks({.first = 0, .count = part.block_count - to_end});
    ChangeMap others = plan;
    for (const Extent& extent : excluded)
        others.mark(extent);
    blocks.subtract(others);
    return blocks;
}

}  // namespace towline
