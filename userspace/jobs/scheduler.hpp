// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <set>

#include "userspace/jobs/job_core.hpp"

namespace towline {

// All jobs of a daemon: who is due, who may run, and what a clock that jumps does to them. Pure, as
// JobCore is. Runs beyond `runs_max` wait, in the order of their ids.
class Scheduler {
  public:
    struct Limits {
        std::size_t jobs_max = 1000;
        std::size_t runs_max = 16;
    };
    struct Stored {
        Job job;
        std::optional<Run> active;
    };

    explicit Scheduler(Limits limits) : limits_(limits) {}

    // From what is durable: as the daemon begins, and when a decision could not be made durable.
    // `executing` are the runs that still go on.
    void open(std::vector<Stored> stored, std::uint64_t next_run_id,
              const std::set<std::uint64_t>& executing, Clocks now,
              std::vector<JobAction>& actions);

    // False: there are as many jobs as there may be. The name is not in use.
    bool create(JobSpec spec, Clocks now, std::vector<JobAction>& actions);
    // The job is there.
    JobAnswer step(const std::string& name, const JobEvent& event, Clocks now,
                   std::vector<JobAction>& actions);
    // Begins what is due. To be called at next_due() at the latest, and every few seconds for
    // clocks that jump.
    void tick(Clocks now, std::vector<JobAction>& actions);

    std::optional<WallTime> next_due() const;
    std::size_t executing() const { return executing_.size(); }
    const JobCore* find(const std::string& name) const;
    const std::map<std::string, JobCore>& jobs() const { return jobs_; }

  private:
    using Due = std::pair<WallTime, std::string>;

    void notice_jump(Clocks now, std::vector<JobAction>& actions);
    void step_core(JobCore& core, const JobEvent& event, WallTime now,
                   std::vector<JobAction>& actions);
    void index(const JobCore& core);
    void unindex(const std::string& name);
    void admit(WallTime now, std::vector<JobAction>& actions);

    Limits limits_;
    std::map<std::string, JobCore> jobs_;
    std::uint64_t next_run_id_ = 1;
    std::optional<Clocks> seen_;  // by the last step

    // Found anew from a job after each of its steps.
    std::set<Due> due_;
    std::map<std::string, WallTime> due_of_;
    std::map<std::uint64_t, std::string> waiting_;  // by run
    std::map<std::string, std::uint64_t> waiting_of_;
    std::set<std::string> executing_;
};

}  // namespace towline
