// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/clock.hpp"
#include "io/result.hpp"
#include "userspace/engine/disk_sample.hpp"

namespace towline {

// What a short exchange with a target tells of the link to it. Nothing of the target's volume or
// disk: none is named.
struct LinkFacts {
    Duration round_trip{};                   // the shortest of some
    Duration clock_ahead{};                  // of theirs before ours, within half a round trip
    std::optional<double> bytes_per_second;  // of what was confirmed; nothing: nothing was in time
    std::uint64_t bytes = 0;                 // that it was measured with
};

// Pure: what was heard becomes facts. Times are since the probe began.
class LinkTally {
  public:
    // An empty probe: their clock in between, and ours when it was sent (both since the epoch).
    void add_round(Duration sent, Duration heard, Duration their_clock, Duration our_clock);
    // So many bytes were confirmed by then, all in all.
    void add_confirmed(Duration heard, std::uint64_t bytes);
    std::uint64_t confirmed_bytes() const {
        return confirmed_.empty() ? 0 : confirmed_.back().bytes;
    }
    // Nothing: no round was answered.
    std::optional<LinkFacts> facts() const;

  private:
    struct Confirmed {
        Duration heard;
        std::uint64_t bytes;
    };
    std::optional<Duration> round_trip_;
    Duration clock_ahead_{};
    std::vector<Confirmed> confirmed_;
};

struct LinkProbeLimits {
    Duration time_max = std::chrono::seconds(2);
    std::uint64_t bytes_max = std::uint64_t{16} << 20;
};

// Over a connection of its own, which says goodbye behind it. Blocks, no longer than the limit and
// a moment. kUnsupported: the target's Towline knows no probe.
Result<LinkFacts> probe_link(int socket, LinkProbeLimits limits = {});

// How fast the disk is that the target of this name is, or would be, on. As above, over a
// connection of its own. kUnsupported: it cannot say, and why.
Result<DiskSample> probe_disk(int socket, const std::string& name,
                              Duration time_max = std::chrono::seconds(10));

}  // namespace towline
