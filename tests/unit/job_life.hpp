// SPDX-License-Identifier: Apache-2.0
#pragma once

// One job, its clock and what it did, for traces of its life.

#include <gtest/gtest.h>

#include "userspace/jobs/job_core.hpp"

namespace towline::testing {

inline const WallTime kBegin = *parse_time("2026-01-05T00:00:00Z");

inline JobSpec spec_of(Schedule schedule, Start start = {}) {
    JobSpec spec;
    spec.name = "job";
    spec.volumes = {"/dev/a"};
    spec.target = "/b";
    spec.schedule = std::move(schedule);
    spec.start = start;
    return spec;
}

// A job, its clock and what it did since one looked last.
class Life {
  public:
    explicit Life(const JobSpec& spec) : core_(spec, now_, actions_) {}

    JobAnswer step(const JobEvent& event) {
        const JobAnswer answer = core_.step(event, now_, next_id_, actions_);
        while (core_.wants_to_execute())
            core_.step(job_event::Admitted{}, now_, next_id_, actions_);
        return answer;
    }
    JobAnswer after(WallSpan span, const JobEvent& event = job_event::Tick{}) {
        now_ += span;
        return step(event);
    }
    void end(job_event::RunEnded::How how) {
        ASSERT_TRUE(core_.run());
        job_event::RunEnded ended{.how = how, .run = *core_.run()};
        if (how == job_event::RunEnded::How::kFailed)
            ended.run.failure = RunFailure{"timeout", "", true};
        step(ended);
    }
    void complete() { end(job_event::RunEnded::How::kCompleted); }
    void fail() { end(job_event::RunEnded::How::kFailed); }
    void stop() { end(job_event::RunEnded::How::kStopped); }

    // As after a crash: from what was saved last.
    void reopen() {
        core_ = JobCore(core_.job(), core_.run());
        step(job_event::Opened{});
    }

    std::string told() {
        std::string text;
        for (const JobAction& action : actions_) {
            if (const auto* tell = std::get_if<job_action::Tell>(&action))
                text += tell->type + (tell->run != 0 ? "#" + std::to_string(tell->run) : "") + " ";
            if (std::holds_alternative<job_action::StopRun>(action)) text += "STOP ";
            if (std::holds_alternative<job_action::StartRun>(action)) text += "START ";
            if (std::holds_alternative<job_action::DropJob>(action)) text += "DROP ";
            if (const auto* change = std::get_if<job_action::ChangeTransfer>(&action))
                text +=
                    "RATE=" + std::to_string(static_cast<int>(change->transfer.rate_mbit)) + " ";
        }
        actions_.clear();
        return text;
    }
    std::string state() const { return std::string(name_of(core_.job().state)); }
    WallSpan due_in() const { return *core_.due_at() - now_; }
    const JobCore& core() const { return core_; }
    WallTime now() const { return now_; }

  private:
    WallTime now_ = kBegin;
    std::uint64_t next_id_ = 1;
    std::vector<JobAction> actions_;
    JobCore core_;
};

}  // namespace towline::testing
