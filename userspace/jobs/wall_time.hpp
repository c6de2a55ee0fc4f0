// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "io/clock.hpp"

namespace towline {

// What the clock on the wall says: it may jump, either way. Schedules speak of it, and so does
// whatever outlives a boot.
using WallTime = std::chrono::sys_time<std::chrono::milliseconds>;
using WallSpan = std::chrono::milliseconds;

// Now, by both clocks: only together do they show that the one on the wall jumped.
struct Clocks {
    WallTime wall;
    Instant monotonic;
};

Clocks clocks_now();

// "2026-11-26T05:46:06.000Z".
std::string time_text(WallTime time);

// ISO 8601 with a zone ("Z" or an offset), or seconds since the epoch. Nothing: neither.
std::optional<WallTime> parse_time(std::string_view text);

// "30s", "15min", "6h", "2d", "1w", and sums of them ("1h 30min"). Nothing: not of that form, or
// more than a thousand days.
std::optional<WallSpan> parse_span(std::string_view text);
std::string span_text(WallSpan span);

}  // namespace towline
