// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "userspace/jobs/schedule.hpp"

namespace towline {

// What may be changed while a run goes on, and reaches it.
struct TransferOptions {
    double rate_mbit = 0;      // 0: no limit
    std::optional<int> level;  // nothing: auto
    bool verify = false;

    bool operator==(const TransferOptions&) const = default;
};

// What knows the changes of a live volume, and what it is read from, in the words of `towline
// sync`.
struct MomentOptions {
    std::string tracker = "auto";
    std::string snapshot = "auto";
    std::uint64_t snapshot_store_bytes = 0;  // 0: by the volume's size
    bool freeze = true;                      // filesystems, around the snapshot
    double audit_days = 30;  // all that the tracker holds to be unchanged is compared in; 0: not

    bool operator==(const MomentOptions&) const = default;
};

// A standing order, as its owner gave it.
struct JobSpec {
    std::string name;
    std::string description;
    std::vector<std::string> tags;
    std::vector<std::string> volumes;
    std::string target;
    std::string from_template;  // that it was made from; empty: none
    Schedule schedule;
    Start start;
    TransferOptions transfer;
    MomentOptions moment;
    bool ignore_critical = false;     // of the preflight before the first run
    bool overwrite = false;           // the target's data may be replaced, whatever it is
    bool direct = false;              // onto a replica at once; cut off, it is of no moment
    std::string journal;              // the folder where a replica here has its runs staged
    std::optional<WallSpan> lag_max;  // a replica that is older is told of
    unsigned failures_max = 3;
    unsigned on_demand_per_day = 0;  // 0: no quota

    bool operator==(const JobSpec&) const = default;
};

enum class JobState {
    kPending,  // not started yet: its first start is to come, or is somebody's to give
    kActive,
    kFailing,  // its last run failed; it is tried again
    kFailed,   // one-time: tried as often as it may be
    kPausedOnFailure,
    kPaused,
    kCompleted,  // one-time: done
    kDeleting,
    kDeleted,
};

// A job and where it stands: all of it durable.
struct Job {
    JobSpec spec;
    std::uint64_t revision = 1;  // of the spec
    JobState state = JobState::kPending;
    bool tested = false;  // the test that it starts with was good, or a person went past it
    WallTime created_at{};
    WallTime changed_at{};
    std::optional<WallTime> next_run_at;  // by its schedule
    std::optional<WallTime> retry_at;     // after a failure; whichever is earlier counts
    unsigned failures = 0;                // one after another
    std::uint64_t active_run = 0;         // 0: none
    std::vector<WallTime> on_demand;      // starts of the last 24 h
    std::optional<WallTime> replica_of;   // the moment that the target holds is no older
    bool lagging = false;                 // that was told
    WallSpan last_duration{};
    std::string point;  // the last one that the target sealed
};

// A test looks at both sides as a run would, and brings nothing.
enum class RunType { kScheduled, kOnDemand, kOneTime, kContinuous, kTest };

enum class RunState { kScheduled, kActive, kCompleted, kFailed, kCancelled, kMissed };

enum class RunStage { kNone, kPreparing, kSnapshot, kTransfer, kVerify, kSeal };

struct RunNumbers {
    std::uint64_t total_bytes = 0;  // of the volumes
    std::uint64_t changed_bytes = 0;
    std::uint64_t done_bytes = 0;
    std::uint64_t sent_bytes = 0;
    // Of the source, between the last run's moment and this one's; nothing: no list of changes.
    std::optional<double> dirty_bytes_per_second;
};

// What was read, and how far it can be trusted to be one moment. Empty: not known yet.
struct RunMoment {
    std::string tracker;
    std::string snapshot;
    std::string label;  // of the point: application, filesystem, crash, fuzzy
    std::string notes;  // why no better ones, and what that costs
};

// Why a run failed.
struct RunFailure {
    std::string code;
    std::string message;
    bool retriable = false;
};

// One execution of a job. Stage and numbers of a run that goes on live with who executes it; here
// they are what was known when it was last stored.
struct Run {
    std::uint64_t id = 0;
    std::string job;
    RunType type = RunType::kScheduled;
    RunState state = RunState::kScheduled;
    RunStage stage = RunStage::kNone;
    WallTime created_at{};
    std::optional<WallTime> scheduled_at;
    std::optional<WallTime> started_at;
    std::optional<WallTime> ended_at;
    unsigned attempt = 1;        // of the same scheduled run
    unsigned continued = 0;      // how often it went on after the daemon had ended
    unsigned missed = 0;         // kMissed: how many times fell on the run that was going on
    std::uint64_t miss_run = 0;  // kMissed: which run that was
    bool paused = false;
    bool cancelling = false;
    std::string mode;   // full, extents, scan
    std::string cause;  // why it was that (docs/cli.md)
    RunMoment moment;
    RunNumbers numbers;
    std::string point;
    std::optional<bool> verified;  // the target read back what it wrote; nothing: none was sealed
    std::optional<RunFailure> failure;

    bool ended() const { return state != RunState::kScheduled && state != RunState::kActive; }
};

std::string_view name_of(JobState state);
std::string_view name_of(RunType type);
std::string_view name_of(RunState state);
std::string_view name_of(RunStage stage);  // kNone: ""

std::optional<JobState> job_state_of(std::string_view name);
std::optional<RunType> run_type_of(std::string_view name);
std::optional<RunState> run_state_of(std::string_view name);
std::optional<RunStage> run_stage_of(std::string_view name);

}  // namespace towline
