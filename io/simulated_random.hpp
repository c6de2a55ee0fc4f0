// SPDX-License-Identifier: Apache-2.0
#pragma once

// The one source of chance of a simulated world. Written out here (SplitMix64) because the
// distributions of <random> differ between standard libraries: a seed printed by one machine must
// replay on another.

#include <cstdint>

#include "io/check.hpp"
#include "io/clock.hpp"

namespace towline {

class SimulatedRandom {
  public:
    explicit SimulatedRandom(std::uint64_t seed) : state_(seed) {}

    static std::uint64_t mix(std::uint64_t value) {
        value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
        value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
        return value ^ (value >> 31);
    }

    std::uint64_t next() { return mix(state_ += 0x9e3779b97f4a7c15ULL); }

    // 0 up to count - 1. The bias of the modulo is of no account for counts far below 2^64.
    std::uint64_t below(std::uint64_t count) {
        CHECK(count > 0);
        return next() % count;
    }
    // Both ends included.
    std::uint64_t between(std::uint64_t low, std::uint64_t high) {
        CHECK(low <= high);
        return low + (high - low == UINT64_MAX ? next() : below(high - low + 1));
    }
    Duration between(Duration low, Duration high) {
        CHECK(low <= high);
        const auto span = static_cast<std::uint64_t>((high - low).count());
        return low + Duration(static_cast<Duration::rep>(below(span + 1)));
    }
    // 0 up to, not including, 1.
    double fraction() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
    // Draws even where the answer is certain, so that a rate set to 0 does not shift the trace.
    bool chance(double rate) { return fraction() < rate; }

  private:
    std::uint64_t state_;
};

}  // namespace towline
