// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "userspace/control/run_executor.hpp"
#include "userspace/engine/disk_sample.hpp"
#include "userspace/engine/link_probe.hpp"

namespace towline {

enum class Severity { kCritical, kWarning, kInfo };

std::string_view name_of(Severity severity);

// What is wrong, or good to know, before a job's run. Codes are only ever added (docs/jobs.md).
struct Finding {
    Severity severity = Severity::kInfo;
    std::string code;
    std::string message;  // with the remedy, where there is one

    bool operator==(const Finding&) const = default;
};

// What the last runs of a job that were completed say of the next.
struct PastRuns {
    double wire_bytes_per_second = 0;    // of the one that sent most
    std::optional<double> next_seconds;  // the median of those that were no full copies
};
// The newest first. Nothing: there are none to tell by.
std::optional<PastRuns> past_of(const std::vector<Run>& runs);

// What was seen of a job's two sides. A text that says why not: empty where it is not so.
struct PreflightFacts {
    enum class Target { kVolume, kVault, kRemote };

    std::string no_volume;  // why it cannot be read
    std::uint64_t volume_bytes = 0;
    std::uint64_t data_bytes = 0;  // at most: what is no hole
    std::size_t disk_count = 0;    // that it lies on
    std::optional<std::string> live;
    std::string no_moment;  // why tracker or snapshot cannot be had
    std::string tracker = "none";
    std::string snapshot = "none";
    std::string moment_notes;
    std::optional<double> read_bytes_per_second;  // measured
    // By whoever uses the volume; nothing: nobody counts it.
    std::optional<double> written_bytes_per_second;

    Target target = Target::kVolume;
    bool target_new = false;  // nothing is there yet
    std::string no_target;    // why it cannot be used
    std::string target_is_source;
    std::optional<std::uint64_t> free_bytes;  // where the target lies, for what is written anew
    std::optional<double> connect_seconds;
    std::optional<LinkFacts> link;          // measured
    std::string no_link;                    // why it was not, although the target answers
    std::optional<DiskSample> target_disk;  // measured
    std::string no_target_disk;             // why it was not, although the target can be used
    std::optional<PastRuns> past;
    bool state_on_volume = false;
    std::string journal_on_volume;  // the folder where a run would be staged, if it is on it

    std::optional<std::uint64_t> memlock_bytes;  // nothing: no limit
    bool clock_synchronised = true;
};

// What a job's first run, and those after it, should take at this speed; nothing: not known.
struct PreflightEstimate {
    std::optional<double> first_seconds;
    std::optional<double> next_seconds;
};

// What of the target's disk holds a run up: how fast it writes; of a device, that is only read,
// how fast it reads.
std::optional<double> target_speed(const PreflightFacts& facts);
// What the link to the target carries: measured, or else as past runs had it.
std::optional<double> link_speed(const PreflightFacts& facts);

// Pure. The worst first.
std::vector<Finding> judge(const PreflightFacts& facts, const JobSpec& spec);
PreflightEstimate estimate(const PreflightFacts& facts, const JobSpec& spec, WallTime now);
// The critical ones as one text; empty: there are none.
std::string stopping_text(const std::vector<Finding>& findings);

// Quick: what can be had at once, and changes nothing. Thorough: reads the volume for a second or
// so, measures the target's disk for another, and the link to a target elsewhere for two at most.
enum class Depth { kQuick, kThorough };
PreflightFacts look_before(const JobSpec& spec, const RunPlaces& places, Depth depth);

}  // namespace towline
