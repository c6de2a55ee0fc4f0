// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <set>

#include "userspace/jobs/job_core.hpp"

namespace towline {

// A run that goes on, as it is now.
struct LiveRun {
    RunStage stage = RunStage::kPreparing;
    std::uint64_t done_bytes = 0;
    std::uint64_t total_bytes = 0;  // of this stage; 0: not known yet
    std::uint64_t sent_bytes = 0;
    double speed = 0;  // bytes a second before compression
    double wire = 0;   // on the wire
};

// Carries runs out through the engine, a thread each. Its methods may be called from any thread,
// the end of a run among them.
class RunExecutor {
  public:
    // Called on the run's thread, which does nothing after it.
    using Ended = std::function<void(job_event::RunEnded)>;

    RunExecutor(std::filesystem::path state_folder, Ended ended);
    // All runs have ended, or are stopped here and not told of: they go on with the next daemon.
    ~RunExecutor();

    void start(const JobSpec& spec, const Run& run);
    void stop(std::uint64_t run);
    void change(std::uint64_t run, const TransferOptions& transfer);
    std::optional<LiveRun> live(std::uint64_t run) const;
    // Takes down the threads that have ended.
    void reap();

  private:
    class Execution;

    void execute(Execution& execution);
    Execution* find(std::uint64_t run) const;

    const std::filesystem::path state_folder_;
    const Ended ended_;
    mutable std::mutex mutex_;
    std::list<std::unique_ptr<Execution>> executions_;  // under mutex_
    bool closing_ = false;                              // under mutex_
};

}  // namespace towline
