// SPDX-License-Identifier: Apache-2.0
// How fast the link is. What a socket takes is not what a link carries: megabytes of buffers fill
// at the speed of memory first, and a send that is large for the link completes in lumps. So the
// first window in which sends are held back is passed over, and the following are gathered until
// they are worth a judgement.

#include "transport/link_estimate.hpp"

#include <algorithm>

namespace towline {
namespace {

constexpr double kHeldPart = 0.85;

// Gathered for a judgement: two windows at least, and enough bytes that a lump more or less does
// not matter; on a very slow link the time alone has to do.
constexpr double kGatherSeconds = 0.15;
constexpr double kGatherBytes = 512 << 10;
constexpr double kGatherSecondsMax = 2;

// A change as large as this is one of the link, not of its measurement.
constexpr double kJump = 1.3;

}  // namespace

void LinkEstimate::add(double wire_bytes, double window_seconds, double busy_seconds) {
    if (window_seconds <= 0) return;
    judged_ = false;
    if (busy_seconds < kHeldPart * window_seconds) {
        held_windows_ = 0;
        return;
    }
    if (++held_windows_ == 1) {
        held_bytes_ = held_seconds_ = 0;
        return;
    }
    add_held(wire_bytes, window_seconds);
}

void LinkEstimate::add_held(double wire_bytes, double window_seconds) {
    held_bytes_ += wire_bytes;
    held_seconds_ += window_seconds;
    const bool enough = held_seconds_ >= kGatherSeconds && held_bytes_ >= kGatherBytes;
    if (!enough && held_seconds_ < kGatherSecondsMax) return;
    const double rate = std::max(held_bytes_ / held_seconds_, 1.0);
    held_bytes_ = held_seconds_ = 0;
    judged_ = true;
    const bool jumped =
        rate > bytes_per_second_ * kJump || rate * kJump < bytes_per_second_ || !known();
    bytes_per_second_ = jumped ? rate : bytes_per_second_ + (rate - bytes_per_second_) / 2;
}

}  // namespace towline
