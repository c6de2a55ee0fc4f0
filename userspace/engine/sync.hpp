// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "cbt/tracker_registry.hpp"
#include "io/engine.hpp"
#include "userspace/engine/moment_choice.hpp"
#include "userspace/engine/run_report.hpp"
#include "userspace/engine/source_sender.hpp"
#include "userspace/engine/sync_source.hpp"
#include "userspace/vault/key_source.hpp"

namespace towline {

// One run, as `towline sync` has it.
struct SyncOptions {
    std::vector<SourceName> sources;  // several: into one point, of one moment
    std::string target;               // a path, tcp://HOST:PORT/NAME or unix:PATH:/NAME
    std::filesystem::path state_folder = "/var/lib/towline";
    RunRequest::Kind kind = RunRequest::Kind::kAuto;
    std::string extents_text;  // kExtents: the list itself
    bool resume = false;
    bool overwrite = false;
    bool verify = false;
    bool dry_run = false;
    bool direct = false;                   // onto the target at once, although it is whole
    std::filesystem::path journal_folder;  // of a target on this host; empty: beside it
    // The target is a point (vault:DIR/NAME@ID), of whatever source: a dry run that compares with
    // it, from a moment as any run has.
    bool compare_only = false;
    std::string compare_volume;  // of a point that has several; empty: all of them
    KeySource keys;              // of the vault, where source or target is in one that is encrypted
    bool used_only = false;      // what the filesystem says is free is taken for zeros
    std::uint32_t block_bytes = 64 * 1024;
    CodecChoice codec = CodecChoice::kAuto;
    std::optional<int> level;  // nothing: auto
    std::uint64_t rate_bytes_per_second = 0;
    // What the rate is to be from now on, asked ten times a second; unset: it stays.
    std::function<std::uint64_t()> rate_now;
    // The same of the level of compression.
    std::function<std::optional<int>()> level_now;
    // Likewise, asked when all was sent.
    std::function<bool()> verify_now;
    unsigned connections = 1;
    MomentWish moment;
    std::uint32_t audit_blocks = 256;
    // Beside that sample every block is compared once in this time, a part a run; 0: not.
    Duration audit_period = std::chrono::days(30);
    std::uint64_t audit_part_max = UINT64_MAX;  // blocks a run
    std::uint64_t snapshot_store_bytes = 0;     // 0: by the volume's size
    bool freeze = true;                         // the source's filesystems, around a snapshot
    Duration freeze_max = 10s;
    std::filesystem::path hooks_folder;
    Duration hook_max = 60s;
    TrackerPlaces places;
    EngineKind engine = EngineKind::kAuto;
    Duration silence_max = 30s;
    std::function<bool()> cancelled = [] { return false; };
    std::function<void(const RunProgress&)> on_progress = [](const RunProgress&) {};
    // What the run was to bring is durably pending: should it fail, the next one brings it, and a
    // list of changes need not be given again.
    std::function<void()> on_noted = [] {};
    // The audit found that the tracker is not to be believed, or that somebody changed the target;
    // the run fails.
    std::function<void()> on_alarm = [] {};
};

// Blocks until the run has ended. A target on this host is served by a second thread of this
// process.
Result<RunReport> run_sync(const SyncOptions& options);

}  // namespace towline
