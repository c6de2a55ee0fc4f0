// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <set>

#include "userspace/engine/run_report.hpp"
#include "userspace/jobs/job_core.hpp"
#include "userspace/vault/key_source.hpp"

namespace towline {

// A run that goes on, as it is now.
struct LiveRun {
    RunStage stage = RunStage::kPreparing;
    std::uint64_t volume_bytes = 0;
    std::uint64_t done_bytes = 0;
    std::uint64_t total_bytes = 0;  // of this stage; 0: not known yet
    std::uint64_t sent_bytes = 0;
    std::uint64_t durable_bytes = 0;  // at the target: what a run that is cut off need not send
    double speed = 0;                 // bytes a second before compression
    double wire = 0;                  // on the wire
    // Bytes of the source that were written to in a second, on average between the moment of the
    // run before and this one's: a block that was written twice counts once.
    std::optional<double> dirty;
    std::optional<WallTime> replica_of;  // the moment that the target holds meanwhile
};

// Where the engine keeps and finds what it needs on this host.
struct RunPlaces {
    std::filesystem::path state_folder;
    std::filesystem::path run_folder = "/run/towline";          // sockets of tracked mounts
    std::filesystem::path hooks_folder = "/etc/towline/hooks";  // a folder in it for each job
    KeySource keys;                                             // of encrypted vaults
};

// Carries runs out through the engine, a thread each. Its methods may be called from any thread,
// the end of a run among them.
class RunExecutor {
  public:
    // Called on the run's thread, which does nothing after it.
    using Ended = std::function<void(job_event::RunEnded)>;

    RunExecutor(RunPlaces places, Ended ended);
    ~RunExecutor();
    RunExecutor(const RunExecutor&) = delete;
    RunExecutor& operator=(const RunExecutor&) = delete;

    // Stops all runs and waits for them. Who is stopped by this is not told of: it goes on with the
    // next daemon. Nothing can be started any more.
    void close();

    // The first run of a job is looked at before it begins: what is critical stops it
    // (preflight.hpp).
    void start(const job_action::StartRun& start);
    void stop(std::uint64_t run);
    void change(std::uint64_t run, const TransferOptions& transfer);
    std::optional<LiveRun> live(std::uint64_t run) const;
    // Takes down the threads that have ended.
    void reap();

  private:
    class Execution;

    void execute(Execution& execution);
    Status replicate(Execution& execution, Run& run) const;
    Status test(const JobSpec& spec, Run& run) const;
    Execution* find(std::uint64_t run) const;

    const RunPlaces places_;
    const Ended ended_;
    mutable std::mutex mutex_;
    std::list<std::unique_ptr<Execution>> executions_;  // under mutex_
    bool closing_ = false;                              // under mutex_
};

}  // namespace towline
