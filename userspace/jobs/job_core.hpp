// SPDX-License-Identifier: Apache-2.0
#pragma once

// One job's decisions: pure, step(event, now) -> actions, without I/O and without a clock.
//
//   Pending ──► Active ◄──► Failing ──► PausedOnFailure        (one-time: Completed, Failed)
//      any of them ◄──► Paused          any ──► Deleting ──► Deleted
//
// A job has one run at a time. It is durable before anything is started for it, and stays the job's
// active run until its end is durable: so whoever opens the job after a crash finds it, and it goes
// on under its id.

#include <variant>

#include "userspace/jobs/job.hpp"

namespace towline {

namespace job_event {
// As it was stored: the daemon begins, or a decision could not be made durable.
struct Opened {
    bool executing = false;  // its run still goes on
};
struct Tick {};
// There is room: what wants to run may.
struct Admitted {};
struct RunRequested {};
struct RunEnded {
    enum class How { kCompleted, kFailed, kStopped };
    How how = How::kCompleted;
    Run run;             // mode, cause, moment, numbers, point and failure are taken from it
    bool alarm = false;  // its audit found a tracker that is not to be believed
};
struct PauseRequested {};
struct ResumeRequested {};
struct CancelRequested {
    std::uint64_t run = 0;
};
struct Edited {
    JobSpec spec;
};
struct NextRunSet {
    WallTime at;
};
struct DeleteRequested {};
// The clock on the wall moved by so much beside the time that passed.
struct ClockJumped {
    WallSpan by{};
};
}  // namespace job_event

using JobEvent =
    std::variant<job_event::Opened, job_event::Tick, job_event::Admitted, job_event::RunRequested,
                 job_event::RunEnded, job_event::PauseRequested, job_event::ResumeRequested,
                 job_event::CancelRequested, job_event::Edited, job_event::NextRunSet,
                 job_event::DeleteRequested, job_event::ClockJumped>;

// In order; what is saved is durable before anything else is done, an answer included.
namespace job_action {
struct SaveJob {
    Job job;
};
struct SaveRun {
    Run run;
};
struct DropJob {
    std::string name;
};
struct StartRun {
    JobSpec spec;
    Run run;
    bool first = false;                  // the target holds nothing of this job yet
    std::optional<WallTime> replica_of;  // what it holds is no older
};
// End it in order, so that it can go on; RunEnded follows.
struct StopRun {
    std::uint64_t run = 0;
};
struct ChangeTransfer {
    std::uint64_t run = 0;
    TransferOptions transfer;
};
// For who follows events: "job.paused", "run.completed", …
struct Tell {
    std::string type;
    std::string job;
    std::uint64_t run = 0;  // 0: of the job
};
}  // namespace job_action

using JobAction = std::variant<job_action::SaveJob, job_action::SaveRun, job_action::DropJob,
                               job_action::StartRun, job_action::StopRun,
                               job_action::ChangeTransfer, job_action::Tell>;

enum class JobAnswer {
    kDone,
    kUnchanged,
    kRunActive,      // one is going on
    kNoSuchRun,      // it has ended, or is not this job's
    kQuotaExceeded,  // of runs on demand
    kPaused,         // resume it first
    kDeleting,
    kEnded,  // a one-time job that has come to its end: there is nothing to pause
};

class JobCore {
  public:
    // A new job; the actions make it durable.
    JobCore(JobSpec spec, WallTime now, std::vector<JobAction>& actions);
    // As it was stored. Opened comes next.
    JobCore(Job job, std::optional<Run> active);

    // Ids are taken from `next_run_id`.
    JobAnswer step(const JobEvent& event, WallTime now, std::uint64_t& next_run_id,
                   std::vector<JobAction>& actions);

    const Job& job() const { return job_; }
    const std::optional<Run>& run() const { return run_; }
    // When the next Tick is wanted.
    std::optional<WallTime> wake_at() const;
    // When it is to run next, by its schedule or after a failure.
    std::optional<WallTime> due_at() const;
    // A run waits to be admitted.
    bool wants_to_execute() const;
    bool executing() const { return executing_; }
    bool deleted() const { return job_.state == JobState::kDeleted; }

  private:
    struct Context {
        WallTime now;
        std::uint64_t& next_run_id;
        std::vector<JobAction>& actions;

        void save(const Job& job) { actions.emplace_back(job_action::SaveJob{job}); }
        void save(const Run& run) { actions.emplace_back(job_action::SaveRun{run}); }
        void tell(std::string_view type, const Job& job, std::uint64_t run = 0) {
            actions.emplace_back(job_action::Tell{std::string(type), job.spec.name, run});
        }
    };

    JobAnswer on(const job_event::Opened&, Context&);
    JobAnswer on(const job_event::Tick&, Context&);
    JobAnswer on(const job_event::Admitted&, Context&);
    JobAnswer on(const job_event::RunRequested&, Context&);
    JobAnswer on(const job_event::RunEnded&, Context&);
    JobAnswer on(const job_event::PauseRequested&, Context&);
    JobAnswer on(const job_event::ResumeRequested&, Context&);
    JobAnswer on(const job_event::CancelRequested&, Context&);
    JobAnswer on(const job_event::Edited&, Context&);
    JobAnswer on(const job_event::NextRunSet&, Context&);
    JobAnswer on(const job_event::DeleteRequested&, Context&);
    JobAnswer on(const job_event::ClockJumped&, Context&);

    bool wants_test() const;
    std::optional<WallTime> lagging_at() const;
    bool tell_lagging(Context&);
    bool scheduled() const;
    bool once() const { return job_.spec.schedule.kind == Schedule::Kind::kOnce; }
    std::optional<WallTime> first_start(WallTime now) const;
    std::optional<WallTime> next_regular(WallTime now) const;
    void begin_run(RunType type, std::optional<WallTime> scheduled_at, Context&);
    void miss(Context&);
    bool is_last(const Run& run) const;
    void stop_run(Context&);
    void run_completed(Context&);
    void run_failed(Context&);
    void test_ended(RunState state, Context&);
    void run_stopped(Context&);
    void run_cancelled(Context&);
    void close_run(RunState state, Context&);
    void finish_delete(Context&);
    void enter(JobState state, std::string_view tell, Context&);

    Job job_;
    std::optional<Run> run_;     // the active one
    std::optional<Run> missed_;  // what counts the times that fell on run_
    bool executing_ = false;     // between StartRun and RunEnded
    bool stopping_ = false;      // StopRun was said
};

// After so many failures in a row: 30 s, doubled each time, an hour at most.
WallSpan retry_delay(unsigned failures);

}  // namespace towline
