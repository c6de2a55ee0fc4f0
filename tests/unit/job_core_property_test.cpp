// SPDX-License-Identifier: Apache-2.0
// Whatever happens to a job, in whatever order: it has one run at a time, what is started is
// durable first, and it is never without something that it waits for.

#include <gtest/gtest.h>

// It uses what gtest declares.
#include <rapidcheck/gtest.h>

#include "userspace/jobs/job_core.hpp"

namespace towline {
namespace {

namespace act = job_action;
namespace ev = job_event;
using Minutes = std::chrono::minutes;

const WallTime kBegin = *parse_time("2026-01-05T00:00:00Z");

JobSpec draw_spec() {
    JobSpec spec;
    spec.name = "job";
    spec.volumes = {"/dev/a"};
    spec.target = "/b";
    const auto span = Minutes(*rc::gen::inRange(1, 3000));
    switch (*rc::gen::inRange(0, 5)) {
        case 0:
            break;
        case 1:
            spec.schedule = Schedule::once(kBegin + span);
            break;
        case 2:
            spec.schedule = *Schedule::on_calendar("*:07/20 Europe/Berlin");
            break;
        case 3:
            spec.schedule = *Schedule::continuous(std::min<WallSpan>(span, Minutes(1440)));
            break;
        default:
            spec.schedule = *Schedule::every(span);
    }
    switch (*rc::gen::inRange(0, 4)) {
        case 0:
            spec.start = {.kind = Start::Kind::kManual};
            break;
        case 1:
            spec.start = {.kind = Start::Kind::kAt, .at = kBegin + span};
            break;
        default:
            break;
    }
    spec.failures_max = static_cast<unsigned>(*rc::gen::inRange(1, 5));
    spec.on_demand_per_day = static_cast<unsigned>(*rc::gen::inRange(0, 3));
    return spec;
}

// A job, who executes its runs, and what is durable of both.
class Model {
  public:
    explicit Model(const JobSpec& spec) : core_(spec, now_, actions_) { settle(); }

    void step(const JobEvent& event) {
        core_.step(event, now_, next_id_, actions_);
        settle();
        core_.step(ev::Tick{}, now_, next_id_, actions_);
        settle();
        if (core_.wants_to_execute()) core_.step(ev::Admitted{}, now_, next_id_, actions_);
        settle();
        check();
    }

    void draw_step() {
        now_ += WallSpan(*rc::gen::inRange<std::int64_t>(0, 7'200'000));
        switch (*rc::gen::inRange(0, 12)) {
            case 0:
                return step(ev::RunRequested{});
            case 1:
                return step(ev::PauseRequested{});
            case 2:
            case 3:
                return step(ev::ResumeRequested{});
            case 4:
                return step(ev::CancelRequested{core_.run() ? core_.run()->id : 1});
            case 5:
                return step(ev::Edited{draw_edit()});
            case 6:
                return step(ev::NextRunSet{now_ + Minutes(*rc::gen::inRange(-60, 60))});
            case 7:
                return crash();
            case 8:
                return jump();
            default:
                return end_run();
        }
    }

    bool deleted() const { return core_.deleted(); }
    void remove() { step(ev::DeleteRequested{}); }
    bool executes() const { return executing_ != 0; }
    void end_run() {
        if (executing_ == 0) return step(ev::Tick{});
        ev::RunEnded end{.run = *core_.run()};
        end.run.id = std::exchange(executing_, 0);
        end.how = stopping_ ? ev::RunEnded::How::kStopped
                            : *rc::gen::element(ev::RunEnded::How::kCompleted,
                                                ev::RunEnded::How::kCompleted,
                                                ev::RunEnded::How::kFailed);
        step(end);
    }

  private:
    JobSpec draw_edit() {
        JobSpec spec = draw_spec();
        if (*rc::gen::inRange(0, 2) == 0) spec.target = "/elsewhere";
        return spec;
    }
    void crash() {
        executing_ = 0;
        core_ = JobCore(stored_, stored_run_);
        step(ev::Opened{});
    }
    void jump() {
        const WallSpan by = Minutes(*rc::gen::inRange(-5000, 5000));
        now_ += by;
        step(ev::ClockJumped{by});
    }

    // Saves before starts, in the order of the actions.
    void settle() {
        for (const JobAction& action : actions_) {
            if (const auto* job = std::get_if<act::SaveJob>(&action)) {
                stored_ = job->job;
            } else if (const auto* run = std::get_if<act::SaveRun>(&action)) {
                if (run->run.state != RunState::kMissed) last_run_ = run->run;
            } else if (const auto* start = std::get_if<act::StartRun>(&action)) {
                RC_ASSERT(executing_ == 0U);
                RC_ASSERT(last_run_ && last_run_->id == start->run.id);
                executing_ = start->run.id;
                stopping_ = false;
            } else if (const auto* stop = std::get_if<act::StopRun>(&action)) {
                RC_ASSERT(stop->run == executing_);
                stopping_ = true;
            }
        }
        actions_.clear();
        stored_run_.reset();
        if (stored_.active_run != 0) {
            RC_ASSERT(last_run_ && last_run_->id == stored_.active_run);
            stored_run_ = last_run_;
        }
    }

    void check() {
        const JobState state = core_.job().state;
        RC_ASSERT(core_.executing() == (executing_ != 0));
        RC_ASSERT(stored_.state == state || core_.deleted());
        RC_ASSERT(stored_.active_run == core_.job().active_run || core_.deleted());
        const bool lives = state == JobState::kActive || state == JobState::kFailing;
        const bool manual = core_.job().spec.schedule.kind == Schedule::Kind::kManual;
        RC_ASSERT(!lives || manual || core_.run() || core_.due_at());
        RC_ASSERT(!core_.due_at() || *core_.due_at() > now_);
        RC_ASSERT(!core_.run() || core_.run()->paused || core_.executing());
        RC_ASSERT(state != JobState::kDeleting || core_.executing());
    }

    WallTime now_ = kBegin;
    std::uint64_t next_id_ = 1;
    std::vector<JobAction> actions_;
    JobCore core_;
    Job stored_;
    std::optional<Run> stored_run_;
    std::optional<Run> last_run_;
    std::uint64_t executing_ = 0;
    bool stopping_ = false;
};

RC_GTEST_PROP(JobCoreProperty, IsNeverStuckForgottenOrTwiceAtOnce, ()) {
    Model model(draw_spec());
    const int steps = *rc::gen::inRange(1, 80);
    for (int i = 0; i < steps; ++i)
        model.draw_step();
    // And it can always be deleted: at once, or when its run has stopped.
    model.remove();
    if (model.executes()) model.end_run();
    RC_ASSERT(model.deleted());
}

}  // namespace
}  // namespace towline
