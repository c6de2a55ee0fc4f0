// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>

namespace towline {

// Time as deciding code sees it: nanoseconds of a monotonic clock, always handed in, never fetched.
using Duration = std::chrono::nanoseconds;
using Instant = std::chrono::time_point<std::chrono::steady_clock, Duration>;

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

inline Instant monotonic_now() {
    return std::chrono::steady_clock::now();
}

inline double seconds(Duration duration) {
    return std::chrono::duration<double>(duration).count();
}

}  // namespace towline
