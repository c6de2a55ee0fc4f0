// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "userspace/vault/vault.hpp"

namespace towline {

// What is to be kept of the points of a name. Tiers count hours, days, weeks and months that have a
// point, from the newest back; nothing in them looks at what time it is now.
struct RetentionPolicy {
    std::uint64_t last = 0;
    std::uint64_t hourly = 0;
    std::uint64_t daily = 0;
    std::uint64_t weekly = 0;
    std::uint64_t monthly = 0;

    bool keeps_nothing() const {
        return last == 0 && hourly == 0 && daily == 0 && weekly == 0 && monthly == 0;
    }
};

struct RetentionDecision {
    std::vector<std::uint64_t> deleted;   // numbers of points
    std::vector<std::uint64_t> by_floor;  // kept by the vault's floor alone
};

// Pure. `points`: the oldest first. `now_seconds`: the vault's own age. The newest point is always
// kept.
RetentionDecision decide_retention(const RetentionPolicy& policy, const VaultConfig& floor,
                                   std::span<const Point> points, std::uint64_t now_seconds);

// Seconds since 1970; nothing when the text is not of the form of `created_at`.
std::optional<std::int64_t> parse_utc(const std::string& text);

}  // namespace towline
