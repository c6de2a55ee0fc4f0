// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/clock.hpp"
#include "userspace/engine/moment.hpp"
#include "userspace/engine/run_decision.hpp"

namespace towline {

// What it says of one of its volumes.
struct VolumeReport {
    std::string name;  // in the point; empty: of one that came without a name
    std::string path;
    Uuid source;
    std::uint64_t bytes = 0;
    std::uint64_t changed_bytes = 0;  // what the run was to bring of it
};

// What a run says of itself when it has ended.
struct RunReport {
    RunMode mode{};
    Cause cause{};
    bool dry_run = false;
    bool resumed = false;
    bool staged = false;  // the target was as it was until the run was attested
    std::vector<VolumeReport> volumes;
    std::uint64_t bytes_total = 0;    // of the volumes
    std::uint64_t bytes_changed = 0;  // what the run was to bring
    std::uint64_t bytes_zero =
        0;  // of what was handled, zeros (sent as ranges, or known at the target)
    std::uint64_t bytes_read = 0;  // from the source
    std::uint64_t bytes_sent = 0;  // on the wire, frames and all
    std::uint64_t bytes_received = 0;
    Duration elapsed{};
    Duration cpu_source{};
    Duration cpu_target{};
    std::uint64_t rss_max_source_bytes = 0;
    std::uint64_t rss_max_target_bytes = 0;
    std::string engine_source;
    std::string engine_target;
    std::string engine_notes;
    std::string codec = "none";
    bool reread = false;                // attested by rereading the target
    Base base;                          // what the target holds now
    MomentFacts moment;                 // how the source was read
    unsigned rounds = 1;                // with `converge`: the last of them frozen
    double dirty_bytes_per_second = 0;  // of the source, while it was copied live; 0: not measured
    std::uint64_t audited_blocks = 0;   // held to be unchanged by the tracker, and found so
    RunDigest digest;
};

// What it says while it goes on.
struct RunProgress {
    std::string_view stage;
    std::uint64_t done_bytes = 0;
    std::uint64_t total_bytes = 0;  // of this stage; 0: not known yet
    std::uint64_t sent_bytes = 0;
    std::uint64_t durable_bytes = 0;  // at the target, of this attempt: not to be sent again
    std::uint64_t volume_bytes = 0;
    bool listed = false;  // the total is what was written since the target's moment, no more
    int level = 0;
    Duration elapsed{};
};

}  // namespace towline
