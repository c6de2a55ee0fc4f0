// SPDX-License-Identifier: Apache-2.0
// What people ask of a job: pause, resume, cancel, edit, delete. Each is answered at once; where a
// run has to be stopped for it, the rest follows with the run's end (job_core.cpp).

#include "userspace/jobs/job_core.hpp"

namespace towline {

namespace act = job_action;
namespace ev = job_event;

void JobCore::stop_run(Context& context) {
    if (!executing_ || stopping_) return;
    stopping_ = true;
    context.actions.emplace_back(act::StopRun{run_->id});
}

JobAnswer JobCore::on(const ev::CancelRequested& cancel, Context& context) {
    if (!run_ || run_->id != cancel.run) return JobAnswer::kNoSuchRun;
    if (!executing_) {
        run_cancelled(context);
        return JobAnswer::kDone;
    }
    if (run_->cancelling) return JobAnswer::kUnchanged;
    run_->cancelling = true;
    context.save(*run_);
    stop_run(context);
    return JobAnswer::kDone;
}

JobAnswer JobCore::on(const ev::PauseRequested&, Context& context) {
    if (job_.state == JobState::kDeleting) return JobAnswer::kDeleting;
    if (job_.state == JobState::kPaused) return JobAnswer::kUnchanged;
    const bool at_end = job_.state == JobState::kCompleted || job_.state == JobState::kFailed;
    if (at_end) return JobAnswer::kEnded;
    job_.next_run_at.reset();
    job_.retry_at.reset();
    if (run_ && !executing_) {
        run_->paused = true;
        context.save(*run_);
    }
    stop_run(context);
    enter(JobState::kPaused, "job.paused", context);
    return JobAnswer::kDone;
}

JobAnswer JobCore::on(const ev::ResumeRequested&, Context& context) {
    if (job_.state == JobState::kDeleting) return JobAnswer::kDeleting;
    const bool by_hand = job_.state == JobState::kPending && !job_.next_run_at &&
                         job_.spec.schedule.kind != Schedule::Kind::kManual;
    if (scheduled() && !by_hand && job_.state != JobState::kFailing) return JobAnswer::kUnchanged;
    if (job_.state == JobState::kCompleted) return JobAnswer::kUnchanged;
    const bool waited = job_.state == JobState::kPaused;
    job_.failures = 0;
    job_.retry_at.reset();
    if (run_ && run_->paused) {
        run_->paused = false;
        context.save(*run_);
    }
    // One that was paused before its test was through still has it before it.
    if (waited && job_.spec.start.tests() && !job_.tested) {
        job_.state = JobState::kPending;
        const bool testing = run_ && run_->type == RunType::kTest;
        job_.next_run_at = testing ? std::nullopt : first_start(context.now);
        enter(JobState::kPending, "job.resumed", context);
        return JobAnswer::kDone;
    }
    // The time that it was to begin at has not come: that it was paused meanwhile brings none
    // nearer.
    const Start& start = job_.spec.start;
    if (waited && start.kind == Start::Kind::kAt && start.at > context.now && !job_.tested) {
        job_.next_run_at = start.at;
        enter(JobState::kPending, "job.resumed", context);
        return JobAnswer::kDone;
    }
    // Who resumes what failed wants to see it work now; a calendar is kept to all the same.
    const Schedule::Kind kind = job_.spec.schedule.kind;
    const bool at_once =
        !waited && kind != Schedule::Kind::kCalendar && kind != Schedule::Kind::kManual;
    // The active run of a one-time job is all that it waits for.
    if (!(run_ && run_->type == RunType::kOneTime && once()))
        job_.next_run_at = at_once ? std::optional(context.now) : next_regular(context.now);
    job_.tested = true;
    enter(JobState::kActive, "job.resumed", context);
    return JobAnswer::kDone;
}

JobAnswer JobCore::on(const ev::Edited& edit, Context& context) {
    if (job_.state == JobState::kDeleting) return JobAnswer::kDeleting;
    if (edit.spec == job_.spec) return JobAnswer::kUnchanged;
    const bool moved =
        edit.spec.volumes != job_.spec.volumes || edit.spec.target != job_.spec.target;
    if (moved && run_) return JobAnswer::kRunActive;
    const bool rescheduled =
        edit.spec.schedule != job_.spec.schedule ||
        (job_.state == JobState::kPending &&
         (edit.spec.start != job_.spec.start || (moved && edit.spec.start.tests())));
    if (moved) job_.tested = false;
    if (edit.spec.transfer != job_.spec.transfer && executing_)
        context.actions.emplace_back(act::ChangeTransfer{run_->id, edit.spec.transfer});
    // Told again where it still is too old.
    if (moved || edit.spec.lag_max != job_.spec.lag_max) job_.lagging = false;
    if (moved) {
        job_.replica_of.reset();
        job_.point.clear();
    }
    job_.spec = edit.spec;
    ++job_.revision;
    job_.changed_at = context.now;
    if (rescheduled) {
        const bool ended = job_.state == JobState::kCompleted || job_.state == JobState::kFailed;
        if (ended) job_.state = JobState::kPending;
        if (ended) job_.failures = 0;
        job_.retry_at.reset();
        if (scheduled())
            job_.next_run_at = job_.state == JobState::kPending ? first_start(context.now)
                                                                : next_regular(context.now);
    }
    context.save(job_);
    context.tell("job.changed", job_);
    return JobAnswer::kDone;
}

JobAnswer JobCore::on(const ev::DeleteRequested&, Context& context) {
    if (job_.state == JobState::kDeleting) return JobAnswer::kUnchanged;
    job_.next_run_at.reset();
    job_.retry_at.reset();
    enter(JobState::kDeleting, "job.deleting", context);
    if (run_ && !executing_) {
        run_cancelled(context);
    } else if (run_) {
        stop_run(context);
    } else {
        finish_delete(context);
    }
    return JobAnswer::kDone;
}

void JobCore::finish_delete(Context& context) {
    job_.state = JobState::kDeleted;
    context.tell("job.deleted", job_);
    context.actions.emplace_back(act::DropJob{job_.spec.name});
}

}  // namespace towline
