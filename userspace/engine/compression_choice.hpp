// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "io/clock.hpp"
#include "transport/codec.hpp"

namespace towline {

// What a vault stores it keeps for long, so auto packs for it even where the link would take more.
constexpr int kLevelKept = 3;

struct CompressionChoice {
    CodecChoice codec = CodecChoice::kAuto;
    std::optional<int> level;  // nothing: auto
    int least = kLevelNone;    // of auto
    bool understood = true;    // by the target: else the level stays at none
    unsigned workers = 1;
    // What the link gives, where it is known beforehand (a rate limit); 0: it is found out.
    std::uint64_t link_bytes_per_second = 0;
    // The clock by which the workers' time is taken; the simulator has its own.
    std::function<Duration()> worker_time = [] { return monotonic_now().time_since_epoch(); };
};

// The choice as a target of these capabilities (its Hello's) can decode it: another codec where
// none was named, no compression where it has none. A codec that was named is not replaced behind
// the user's back: kUnsupported, with the remedy.
Result<CompressionChoice> decodable(CompressionChoice choice, std::uint64_t capabilities);

}  // namespace towline
