// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "cbt/change_map.hpp"
#include "io/clock.hpp"

namespace towline {

// How far the audit that goes round has come, for one target. It is due by the calendar: a share of
// the volume for the share of the period that has passed, whatever the runs' rhythm is. Pure.
struct RollingAudit {
    std::uint64_t next_bytes = 0;  // where it goes on
    std::int64_t covered_ms = 0;   // the time on the wall up to which its share is done; 0: never
    bool operator==(const RollingAudit&) const = default;
};

struct RollingPart {
    std::uint64_t first_block = 0;
    std::uint64_t block_count = 0;  // round the end of the volume
    RollingAudit after;             // when the part was found to be equal
};

// What is due now so that all is covered within each `period`; at most the whole volume, and at
// most `blocks_max`: what is more waits for the next time. The first time begins the count, as does
// a clock that was set back.
RollingPart rolling_part(const RollingAudit& before, std::int64_t now_ms, Duration period,
                         const ChangeMap& geometry, std::uint64_t blocks_max);

// Its blocks but for those that the tracker does not hold to be unchanged.
ChangeMap rolling_blocks(const RollingPart& part, const ChangeMap& plan,
                         const std::vector<Extent>& excluded);

}  // namespace towline
