// SPDX-License-Identifier: Apache-2.0
// What keeps a job from being forgotten: in every state but those that wait for a person
// (PausedOnFailure, Paused, Failed, Completed, a start by hand) it has a time that it is due at, or
// a run that is going on or waits to be admitted. What keeps it from running twice: a run is begun
// only where there is none, and an end counts only for the run that it names.

#include "userspace/jobs/job_core.hpp"

#include <algorithm>

#include "io/check.hpp"

namespace towline {

namespace act = job_action;
namespace ev = job_event;

namespace {

constexpr WallSpan kRetryFirst = std::chrono::seconds(30);
constexpr WallSpan kRetryMax = std::chrono::hours(1);
constexpr WallSpan kQuotaSpan = std::chrono::hours(24);
// Between two runs of a continuous job whose runs take all of the wanted lag.
constexpr WallSpan kBreath = std::chrono::seconds(1);

RunType regular_type(Schedule::Kind kind) {
    if (kind == Schedule::Kind::kOnce) return RunType::kOneTime;
    return kind == Schedule::Kind::kContinuous ? RunType::kContinuous : RunType::kScheduled;
}

}  // namespace

WallSpan retry_delay(unsigned failures) {
    WallSpan delay = kRetryFirst;
    for (unsigned each = 1; each < failures && delay < kRetryMax; ++each)
        delay *= 2;
    return std::min(delay, kRetryMax);
}

JobCore::JobCore(JobSpec spec, WallTime now, std::vector<JobAction>& actions) {
    job_.spec = std::move(spec);
    job_.created_at = job_.changed_at = now;
    job_.next_run_at = first_start(now);
    actions.emplace_back(act::SaveJob{job_});
    actions.emplace_back(act::Tell{"job.created", job_.spec.name, 0});
}

JobCore::JobCore(Job job, std::optional<Run> active)
    : job_(std::move(job)), run_(std::move(active)) {
    CHECK(run_ ? run_->id == job_.active_run : job_.active_run == 0);
}

JobAnswer JobCore::step(const JobEvent& event, WallTime now, std::uint64_t& next_run_id,
                        std::vector<JobAction>& actions) {
    Context context{.now = now, .next_run_id = next_run_id, .actions = actions};
    return std::visit([&](const auto& each) { return on(each, context); }, event);
}

bool JobCore::scheduled() const {
    return job_.state == JobState::kPending || job_.state == JobState::kActive ||
           job_.state == JobState::kFailing;
}

std::optional<WallTime> JobCore::due_at() const {
    if (!scheduled()) return std::nullopt;
    // A time of a grid that falls on a run is missed; all else waits until the run is through.
    const Schedule::Kind kind = job_.spec.schedule.kind;
    const bool grid = kind == Schedule::Kind::kEvery || kind == Schedule::Kind::kCalendar;
    const bool test = wants_test() || (run_ && run_->type == RunType::kTest);
    if (run_) return grid && !test ? job_.next_run_at : std::nullopt;
    if (!job_.next_run_at) return job_.retry_at;
    if (!job_.retry_at) return job_.next_run_at;
    return std::min(*job_.next_run_at, *job_.retry_at);
}

// When the replica will be older than it may be; nothing: it is not watched, or that is told.
std::optional<WallTime> JobCore::lagging_at() const {
    const bool over = job_.state == JobState::kCompleted || job_.state == JobState::kDeleting;
    if (!job_.spec.lag_max || !job_.replica_of || job_.lagging || over) return std::nullopt;
    return *job_.replica_of + *job_.spec.lag_max;
}

std::optional<WallTime> JobCore::wake_at() const {
    const auto due = due_at();
    const auto lagging = lagging_at();
    if (!due || !lagging) return due ? due : lagging;
    return std::min(*due, *lagging);
}

bool JobCore::tell_lagging(Context& context) {
    const auto at = lagging_at();
    if (!at || *at > context.now) return false;
    job_.lagging = true;
    context.save(job_);
    context.tell("job.lagging", job_);
    return true;
}

bool JobCore::wants_to_execute() const {
    return run_ && !run_->ended() && !run_->paused && !executing_;
}

// A job that starts with a test is Pending until the test has been good or a person goes past it.
bool JobCore::wants_test() const {
    return job_.state == JobState::kPending && job_.spec.start.tests() && !job_.tested;
}

std::optional<WallTime> JobCore::first_start(WallTime now) const {
    if (wants_test()) return now;
    const Schedule& schedule = job_.spec.schedule;
    switch (job_.spec.start.kind) {
        case Start::Kind::kNow:
            return now;
        case Start::Kind::kAt:
            return job_.spec.start.at;
        case Start::Kind::kManual:
        case Start::Kind::kTestOnly:
            return std::nullopt;
        case Start::Kind::kTestThenStart:
        case Start::Kind::kSchedule:
            break;
    }
    if (schedule.kind == Schedule::Kind::kManual) return std::nullopt;
    if (schedule.kind == Schedule::Kind::kOnce) return schedule.at;
    if (schedule.kind == Schedule::Kind::kCalendar) return schedule.next_after(now, now);
    return now;
}

// Of a job that is started already and has nothing due.
std::optional<WallTime> JobCore::next_regular(WallTime now) const {
    const Schedule& schedule = job_.spec.schedule;
    switch (schedule.kind) {
        case Schedule::Kind::kManual:
            return std::nullopt;
        case Schedule::Kind::kOnce:
            return std::max(now, schedule.at);
        case Schedule::Kind::kCalendar:
            return schedule.next_after(now, now);
        case Schedule::Kind::kEvery:
            if (!job_.replica_of || *job_.replica_of > now) return now;
            return std::max(now, *job_.replica_of + schedule.span);
        case Schedule::Kind::kContinuous:
            break;
    }
    // The replica is as old as the run that made it is ended: begin early enough for the next.
    const WallTime began = job_.replica_of && *job_.replica_of <= now ? *job_.replica_of : now;
    return std::max(now + kBreath, began + schedule.span - job_.last_duration);
}

void JobCore::enter(JobState state, std::string_view tell, Context& context) {
    job_.state = state;
    context.save(job_);
    context.tell(tell, job_);
}

// --- time

JobAnswer JobCore::on(const ev::Opened& opened, Context& context) {
    executing_ = opened.executing;
    stopping_ = false;
    if (executing_) {
        CHECK(run_);
        if (run_->cancelling || job_.state == JobState::kDeleting ||
            job_.state == JobState::kPaused)
            stop_run(context);
    } else if (run_) {
        if (run_->cancelling || job_.state == JobState::kDeleting) {
            run_cancelled(context);
        } else if (job_.state == JobState::kPaused) {
            run_->paused = true;
            context.save(*run_);
        } else if (run_->state == RunState::kActive) {
            ++run_->continued;
            context.save(*run_);
            context.tell("run.continued", job_, run_->id);
        }
    } else if (job_.state == JobState::kDeleting) {
        finish_delete(context);
    }
    // A clock that was set back while nobody watched: no interval is waited for twice.
    const WallSpan span = job_.spec.schedule.span;
    const bool by_span = job_.spec.schedule.kind == Schedule::Kind::kEvery ||
                         job_.spec.schedule.kind == Schedule::Kind::kContinuous;
    const bool started = job_.state != JobState::kPending;
    if (by_span && started && job_.next_run_at && *job_.next_run_at > context.now + span) {
        job_.next_run_at = context.now + span;
        context.save(job_);
    }
    if (job_.retry_at && *job_.retry_at > context.now + kRetryMax) {
        job_.retry_at = context.now + kRetryMax;
        context.save(job_);
    }
    return JobAnswer::kDone;
}

JobAnswer JobCore::on(const ev::Tick&, Context& context) {
    const bool told = tell_lagging(context);
    const auto due = due_at();
    if (!due || *due > context.now) return told ? JobAnswer::kDone : JobAnswer::kUnchanged;
    if (run_) {
        miss(context);
    } else {
        begin_run(wants_test() ? RunType::kTest : regular_type(job_.spec.schedule.kind), due,
                  context);
    }
    return JobAnswer::kDone;
}

// A regular time that falls on a run that goes on is passed over, and that is on record: once for
// each run in the way, with a count.
void JobCore::miss(Context& context) {
    if (missed_) {
        ++missed_->missed;
    } else {
        missed_.emplace();
        missed_->id = context.next_run_id++;
        missed_->job = job_.spec.name;
        missed_->type = regular_type(job_.spec.schedule.kind);
        missed_->state = RunState::kMissed;
        missed_->created_at = context.now;
        missed_->scheduled_at = job_.next_run_at;
        missed_->missed = 1;
        missed_->miss_run = run_->id;
        context.tell("run.missed", job_, missed_->id);
    }
    missed_->ended_at = context.now;
    job_.next_run_at = job_.spec.schedule.next_after(context.now, *job_.next_run_at);
    context.save(*missed_);
    context.save(job_);
}

JobAnswer JobCore::on(const ev::ClockJumped& jump, Context& context) {
    const WallTime now = context.now;
    if (job_.retry_at) *job_.retry_at += jump.by;
    if (job_.replica_of) *job_.replica_of += jump.by;
    if (job_.next_run_at && job_.state != JobState::kPending) {
        // An interval is time that passes; a calendar is what the wall says, and a time that the
        // clock came back to before is due again.
        const Schedule& schedule = job_.spec.schedule;
        if (schedule.kind == Schedule::Kind::kCalendar) {
            if (const auto next = schedule.next_after(now, now))
                job_.next_run_at = std::min(*job_.next_run_at, *next);
        } else if (schedule.kind != Schedule::Kind::kOnce) {
            *job_.next_run_at += jump.by;
        }
    }
    context.save(job_);
    return JobAnswer::kDone;
}

JobAnswer JobCore::on(const ev::NextRunSet& set, Context& context) {
    if (job_.state == JobState::kDeleting) return JobAnswer::kDeleting;
    if (job_.state == JobState::kCompleted || job_.state == JobState::kFailed)
        return JobAnswer::kEnded;
    if (!scheduled()) return JobAnswer::kPaused;
    job_.next_run_at = set.at;
    job_.retry_at.reset();
    job_.changed_at = context.now;
    ++job_.revision;
    context.save(job_);
    context.tell("job.changed", job_);
    return JobAnswer::kDone;
}

// --- runs

JobAnswer JobCore::on(const ev::RunRequested&, Context& context) {
    if (job_.state == JobState::kDeleting) return JobAnswer::kDeleting;
    if (run_) return JobAnswer::kRunActive;
    if (job_.state == JobState::kPaused || job_.state == JobState::kPausedOnFailure)
        return JobAnswer::kPaused;
    // Of the last 24 h by this clock; what a clock that was set back has in the future is not.
    std::erase_if(job_.on_demand,
                  [&](WallTime at) { return at > context.now || at <= context.now - kQuotaSpan; });
    const unsigned quota = job_.spec.on_demand_per_day;
    if (quota > 0 && job_.on_demand.size() >= quota) return JobAnswer::kQuotaExceeded;
    if (quota > 0) job_.on_demand.push_back(context.now);
    begin_run(RunType::kOnDemand, std::nullopt, context);
    return JobAnswer::kDone;
}

void JobCore::begin_run(RunType type, std::optional<WallTime> scheduled_at, Context& context) {
    CHECK(!run_);
    run_.emplace();
    run_->id = context.next_run_id++;
    run_->job = job_.spec.name;
    run_->type = type;
    run_->created_at = context.now;
    run_->scheduled_at = scheduled_at;
    job_.active_run = run_->id;
    missed_.reset();
    const bool regular = type != RunType::kOnDemand && type != RunType::kTest;
    if (type == RunType::kTest) job_.next_run_at.reset();
    if (regular) {
        run_->attempt = job_.failures + 1;
        const bool grid = job_.next_run_at && *job_.next_run_at <= context.now;
        job_.retry_at.reset();
        if (grid) job_.next_run_at = job_.spec.schedule.next_after(context.now, *job_.next_run_at);
    }
    const Schedule::Kind kind = job_.spec.schedule.kind;
    const bool by_hand = type == RunType::kOnDemand && kind == Schedule::Kind::kManual;
    if (job_.state == JobState::kPending && (regular || by_hand)) {
        job_.state = JobState::kActive;
        job_.tested = true;
    }
    context.save(*run_);
    context.save(job_);
    context.tell("run.created", job_, run_->id);
}

JobAnswer JobCore::on(const ev::Admitted&, Context& context) {
    if (!wants_to_execute()) return JobAnswer::kUnchanged;
    executing_ = true;
    stopping_ = false;
    run_->state = RunState::kActive;
    run_->stage = RunStage::kPreparing;
    if (!run_->started_at) run_->started_at = context.now;
    context.save(*run_);
    context.tell("run.started", job_, run_->id);
    context.actions.emplace_back(
        act::StartRun{job_.spec, *run_, job_.point.empty(), job_.replica_of});
    return JobAnswer::kDone;
}

JobAnswer JobCore::on(const ev::RunEnded& end, Context& context) {
    if (!run_ || !executing_ || end.run.id != run_->id) return JobAnswer::kNoSuchRun;
    executing_ = stopping_ = false;
    run_->stage = end.run.stage;
    run_->mode = end.run.mode;
    run_->cause = end.run.cause;
    run_->moment = end.run.moment;
    run_->numbers = end.run.numbers;
    run_->point = end.run.point;
    run_->verified = end.run.verified;
    run_->failure = end.run.failure;
    // Beside the failure, which alone looks like any other.
    if (end.alarm) context.tell("job.alarm", job_, run_->id);
    switch (end.how) {
        case ev::RunEnded::How::kCompleted:
            run_completed(context);
            break;
        case ev::RunEnded::How::kFailed:
            run_failed(context);
            break;
        case ev::RunEnded::How::kStopped:
            run_stopped(context);
            break;
    }
    return JobAnswer::kDone;
}

void JobCore::close_run(RunState state, Context& context) {
    run_->state = state;
    run_->ended_at = context.now;
    run_->paused = run_->cancelling = false;
    context.save(*run_);
    const char* tell = state == RunState::kCompleted ? "run.completed"
                       : state == RunState::kFailed  ? "run.failed"
                                                     : "run.cancelled";
    context.tell(tell, job_, run_->id);
    job_.active_run = 0;
    run_.reset();
    missed_.reset();
}

// Is that all that the job was to do? Its one run, or one on demand that makes good where that
// failed. An edit while it goes on may have given it another time, or a schedule.
bool JobCore::is_last(const Run& run) const {
    if (!once() || job_.next_run_at) return false;
    return run.type == RunType::kOneTime || job_.state == JobState::kFailing;
}

void JobCore::run_completed(Context& context) {
    if (run_->type == RunType::kTest) return test_ended(RunState::kCompleted, context);
    const WallTime began = run_->started_at.value_or(context.now);
    const bool over = is_last(*run_);
    job_.replica_of = began;
    job_.last_duration = std::max(WallSpan{}, context.now - began);
    job_.point = run_->point;
    job_.failures = 0;
    job_.retry_at.reset();
    close_run(RunState::kCompleted, context);
    if (job_.state == JobState::kDeleting) return finish_delete(context);
    if (std::exchange(job_.lagging, false)) context.tell("job.caught-up", job_);
    if (over) return enter(JobState::kCompleted, "job.completed", context);
    if (job_.state == JobState::kFailing) job_.state = JobState::kActive;
    const bool continuous = job_.spec.schedule.kind == Schedule::Kind::kContinuous;
    if (continuous && scheduled() && job_.state != JobState::kPending)
        job_.next_run_at = next_regular(context.now);
    context.save(job_);
}

// A run on demand leaves the schedule alone: it is not tried again, and pauses nothing.
void JobCore::run_failed(Context& context) {
    if (run_->cancelling) return run_cancelled(context);
    if (run_->type == RunType::kTest) return test_ended(RunState::kFailed, context);
    const bool on_demand = run_->type == RunType::kOnDemand;
    const bool manual = job_.spec.schedule.kind == Schedule::Kind::kManual;
    close_run(RunState::kFailed, context);
    if (job_.state == JobState::kDeleting) return finish_delete(context);
    if (!on_demand || manual) ++job_.failures;
    if (!scheduled() || (on_demand && !manual)) return context.save(job_);
    if (on_demand) return enter(JobState::kFailing, "job.failing", context);
    if (job_.failures >= job_.spec.failures_max) {
        job_.next_run_at.reset();
        job_.retry_at.reset();
        return once() ? enter(JobState::kFailed, "job.failed", context)
                      : enter(JobState::kPausedOnFailure, "job.paused-on-failure", context);
    }
    job_.retry_at = context.now + retry_delay(job_.failures);
    enter(JobState::kFailing, "job.failing", context);
}

// A test that was not good is not tried again of itself: what it found is a person's to mend.
void JobCore::test_ended(RunState state, Context& context) {
    job_.tested = state == RunState::kCompleted;
    close_run(state, context);
    if (job_.state == JobState::kDeleting) return finish_delete(context);
    if (job_.state == JobState::kPending)
        job_.next_run_at = wants_test() ? std::nullopt : first_start(context.now);
    context.save(job_);
}

void JobCore::run_stopped(Context& context) {
    if (run_->cancelling || job_.state == JobState::kDeleting) return run_cancelled(context);
    // Resumed before it had stopped: it waits to be admitted again.
    run_->paused = job_.state == JobState::kPaused;
    context.save(*run_);
    if (run_->paused) context.tell("run.paused", job_, run_->id);
}

void JobCore::run_cancelled(Context& context) {
    const RunType type = run_->type;
    close_run(RunState::kCancelled, context);
    if (job_.state == JobState::kDeleting) return finish_delete(context);
    if (scheduled() && type == RunType::kOneTime && once() && !job_.next_run_at)
        return enter(JobState::kFailed, "job.failed", context);
    // An interval later, not at once: somebody did not want this one.
    if (scheduled() && type == RunType::kContinuous)
        job_.next_run_at = context.now + job_.spec.schedule.span;
    context.save(job_);
}

}  // namespace towline
