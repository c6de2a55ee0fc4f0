// SPDX-License-Identifier: Apache-2.0
// One job's life as traces: what is asked of it, and what it does.

#include "userspace/jobs/job_core.hpp"

#include <gtest/gtest.h>

namespace towline {
namespace {

namespace act = job_action;
namespace ev = job_event;
using std::chrono::hours;
using std::chrono::minutes;
using Seconds = std::chrono::seconds;

const WallTime kBegin = *parse_time("2026-01-05T00:00:00Z");

JobSpec spec_of(Schedule schedule, Start start = {}) {
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
            core_.step(ev::Admitted{}, now_, next_id_, actions_);
        return answer;
    }
    JobAnswer after(WallSpan span, const JobEvent& event = ev::Tick{}) {
        now_ += span;
        return step(event);
    }
    void end(ev::RunEnded::How how) {
        ASSERT_TRUE(core_.run());
        ev::RunEnded ended{.how = how, .run = *core_.run()};
        if (how == ev::RunEnded::How::kFailed) ended.run.failure = RunFailure{"timeout", "", true};
        step(ended);
    }
    void complete() { end(ev::RunEnded::How::kCompleted); }
    void fail() { end(ev::RunEnded::How::kFailed); }
    void stop() { end(ev::RunEnded::How::kStopped); }

    // As after a crash: from what was saved last.
    void reopen() {
        core_ = JobCore(core_.job(), core_.run());
        step(ev::Opened{});
    }

    std::string told() {
        std::string text;
        for (const JobAction& action : actions_) {
            if (const auto* tell = std::get_if<act::Tell>(&action))
                text += tell->type + (tell->run != 0 ? "#" + std::to_string(tell->run) : "") + " ";
            if (std::holds_alternative<act::StopRun>(action)) text += "STOP ";
            if (std::holds_alternative<act::StartRun>(action)) text += "START ";
            if (std::holds_alternative<act::DropJob>(action)) text += "DROP ";
            if (const auto* change = std::get_if<act::ChangeTransfer>(&action))
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

TEST(JobCore, EveryKeepsToItsGrid) {
    Life job(spec_of(*Schedule::every(minutes(10))));
    EXPECT_EQ(job.state(), "Pending");
    job.step(ev::Tick{});
    EXPECT_EQ(job.state(), "Active");
    EXPECT_EQ(job.told(), "job.created run.created#1 run.started#1 START ");
    job.after(minutes(3));
    job.complete();
    EXPECT_EQ(job.due_in(), minutes(7));
    EXPECT_EQ(job.after(minutes(6)), JobAnswer::kUnchanged);
    job.after(minutes(1));
    EXPECT_EQ(job.core().run()->id, 2U);
}

// What is due of a job that never ran, by its schedule and its start.
TEST(JobCore, WhatIsDueFirst) {
    const auto first = [](Schedule schedule, Start::Kind kind) {
        return Life(spec_of(std::move(schedule), {.kind = kind, .at = kBegin + hours(9)}))
            .core()
            .job()
            .next_run_at;
    };
    const Schedule once = Schedule::once(kBegin + hours(5));
    const Schedule every = *Schedule::every(hours(1));
    const Schedule calendar = *Schedule::on_calendar("06:00 UTC");
    const Schedule continuous = *Schedule::continuous(Seconds(5));
    using Kind = Start::Kind;
    for (const Schedule& each : {Schedule::manual(), once, every, calendar, continuous}) {
        EXPECT_EQ(first(each, Kind::kNow), kBegin);
        EXPECT_EQ(first(each, Kind::kAt), kBegin + hours(9));
        EXPECT_EQ(first(each, Kind::kManual), std::nullopt);
        EXPECT_EQ(first(each, Kind::kTestOnly), kBegin) << "the test";
        EXPECT_EQ(first(each, Kind::kTestThenStart), kBegin) << "the test";
    }
    EXPECT_EQ(first(Schedule::manual(), Kind::kSchedule), std::nullopt);
    EXPECT_EQ(first(once, Kind::kSchedule), kBegin + hours(5));
    EXPECT_EQ(first(every, Kind::kSchedule), kBegin);
    EXPECT_EQ(first(calendar, Kind::kSchedule), kBegin + hours(6));
    EXPECT_EQ(first(continuous, Kind::kSchedule), kBegin);
}

TEST(JobCore, AManualJobThatIsToBeginRunsOnceOfItself) {
    Life job(spec_of(Schedule::manual(), {.kind = Start::Kind::kAt, .at = kBegin + hours(2)}));
    EXPECT_EQ(job.after(hours(1)), JobAnswer::kUnchanged);
    job.told();
    job.after(hours(1));
    EXPECT_EQ(job.told(), "run.created#1 run.started#1 START ");
    job.complete();
    EXPECT_EQ(job.state(), "Active");
    EXPECT_EQ(job.core().due_at(), std::nullopt) << "from then on somebody starts it";
}

TEST(JobCore, APauseBringsNoFirstStartNearer) {
    Life job(
        spec_of(*Schedule::every(hours(1)), {.kind = Start::Kind::kAt, .at = kBegin + hours(48)}));
    job.step(ev::PauseRequested{});
    job.after(hours(1), ev::ResumeRequested{});
    EXPECT_EQ(job.state(), "Pending");
    EXPECT_EQ(job.due_in(), hours(47));
    // Neither does a run on demand, that leaves the schedule alone.
    job.step(ev::RunRequested{});
    job.step(ev::PauseRequested{});
    job.stop();
    job.step(ev::ResumeRequested{});
    EXPECT_EQ(job.state(), "Pending");
    job.complete();
    EXPECT_EQ(job.due_in(), hours(47));
    // Who began it did begin it.
    job.after(hours(47));
    EXPECT_EQ(job.state(), "Active");
    job.complete();
    job.step(ev::PauseRequested{});
    job.step(ev::ResumeRequested{});
    EXPECT_EQ(job.state(), "Active");
    // Past that time it goes on as any other.
    Life late(
        spec_of(*Schedule::every(hours(1)), {.kind = Start::Kind::kAt, .at = kBegin + hours(2)}));
    late.step(ev::PauseRequested{});
    late.after(hours(3), ev::ResumeRequested{});
    EXPECT_EQ(late.state(), "Active");
    EXPECT_EQ(late.due_in(), WallSpan{});
}

TEST(JobCore, ATimeThatFallsOnARunIsMissedAndCounted) {
    Life job(spec_of(*Schedule::every(minutes(10))));
    job.step(ev::Tick{});
    job.told();
    job.after(minutes(10));
    EXPECT_EQ(job.told(), "run.missed#2 ");
    job.after(minutes(10));
    EXPECT_EQ(job.told(), "");
    job.after(minutes(5));
    job.complete();
    EXPECT_EQ(job.due_in(), minutes(5));
    job.after(minutes(5));
    EXPECT_EQ(job.core().run()->id, 3U);
}

TEST(JobCore, FailuresAreRetriedAndThenAPersonIsAsked) {
    Life job(spec_of(*Schedule::every(hours(6))));
    job.step(ev::Tick{});
    job.fail();
    EXPECT_EQ(job.state(), "Failing");
    EXPECT_EQ(job.due_in(), Seconds(30));
    job.after(Seconds(30));
    EXPECT_EQ(job.core().run()->attempt, 2U);
    job.fail();
    EXPECT_EQ(job.due_in(), Seconds(60));
    job.after(Seconds(60));
    job.told();
    job.fail();
    EXPECT_EQ(job.state(), "PausedOnFailure");
    EXPECT_EQ(job.told(), "run.failed#3 job.paused-on-failure ");
    EXPECT_FALSE(job.core().due_at());
    EXPECT_EQ(job.step(ev::RunRequested{}), JobAnswer::kPaused);
    EXPECT_EQ(job.step(ev::ResumeRequested{}), JobAnswer::kDone);
    job.step(ev::Tick{});
    EXPECT_EQ(job.core().run()->attempt, 1U);
    job.complete();
    EXPECT_EQ(job.state(), "Active");
}

TEST(JobCore, AnAuditThatFoundSomethingIsToldOfBesideTheFailure) {
    Life job(spec_of(*Schedule::every(hours(6))));
    job.step(ev::Tick{});
    job.told();
    ev::RunEnded ended{.how = ev::RunEnded::How::kFailed, .run = *job.core().run(), .alarm = true};
    ended.run.failure = RunFailure{"corrupt", "", false};
    job.step(ended);
    EXPECT_EQ(job.told(), "job.alarm#1 run.failed#1 job.failing ");
}

TEST(JobCore, AReplicaThatIsTooOldIsToldOfOnce) {
    JobSpec spec = spec_of(*Schedule::every(hours(6)));
    spec.lag_max = minutes(10);
    Life job(spec);
    job.step(ev::Tick{});
    job.after(minutes(20));
    EXPECT_FALSE(job.core().job().lagging) << "there is no replica yet";
    job.complete();
    job.told();
    job.step(ev::Tick{});
    EXPECT_EQ(job.told(), "job.lagging ") << "it is of 20 minutes ago";
    job.after(minutes(1));
    job.reopen();
    job.step(ev::Tick{});
    EXPECT_EQ(job.told(), "");
    job.step(ev::RunRequested{});
    job.told();
    job.complete();
    EXPECT_EQ(job.told(), "run.completed#2 job.caught-up ");
    EXPECT_EQ(*job.core().wake_at() - job.now(), minutes(10));
    spec.lag_max = minutes(5);
    job.step(ev::Edited{spec});
    job.told();
    job.after(minutes(5));
    EXPECT_EQ(job.told(), "job.lagging ");
}

TEST(JobCore, ASuccessForgetsFailures) {
    Life job(spec_of(*Schedule::every(hours(6))));
    for (int round = 0; round < 5; ++round) {
        while (job.core().due_at() && !job.core().run())
            job.after(std::max(WallSpan{}, job.due_in()));
        job.fail();
        job.after(job.due_in());
        job.complete();
        EXPECT_EQ(job.state(), "Active");
        EXPECT_EQ(job.core().job().failures, 0U);
    }
}

TEST(JobCore, AOneTimeJobFailsRatherThanPauses) {
    Life job(spec_of(Schedule::once(kBegin + hours(1))));
    EXPECT_EQ(job.due_in(), hours(1));
    job.after(hours(1));
    for (int tries = 1; tries < 3; ++tries) {
        job.fail();
        job.after(job.due_in());
    }
    job.fail();
    EXPECT_EQ(job.state(), "Failed");
    EXPECT_EQ(job.step(ev::PauseRequested{}), JobAnswer::kEnded);
    EXPECT_EQ(job.step(ev::ResumeRequested{}), JobAnswer::kDone);
    job.step(ev::Tick{});
    job.complete();
    EXPECT_EQ(job.state(), "Completed");
    EXPECT_FALSE(job.core().due_at());
}

TEST(JobCore, RunsOnDemandLeaveTheScheduleAlone) {
    auto spec = spec_of(*Schedule::every(hours(1)));
    spec.on_demand_per_day = 2;
    Life job(spec);
    job.step(ev::Tick{});
    EXPECT_EQ(job.step(ev::RunRequested{}), JobAnswer::kRunActive);
    job.complete();
    job.after(minutes(10));
    EXPECT_EQ(job.step(ev::RunRequested{}), JobAnswer::kDone);
    EXPECT_EQ(job.core().run()->type, RunType::kOnDemand);
    job.fail();
    EXPECT_EQ(job.state(), "Active");
    EXPECT_EQ(job.core().job().failures, 0U);
    EXPECT_EQ(job.due_in(), minutes(50));
    job.step(ev::RunRequested{});
    job.complete();
    EXPECT_EQ(job.step(ev::RunRequested{}), JobAnswer::kQuotaExceeded);
    job.after(hours(24), ev::RunRequested{});
    EXPECT_TRUE(job.core().run());
}

TEST(JobCore, AOneTimeJobIsNotForgottenForARunOnDemand) {
    Life job(spec_of(Schedule::once(kBegin + hours(1))));
    job.step(ev::RunRequested{});
    job.after(hours(2));
    EXPECT_EQ(job.core().run()->type, RunType::kOnDemand);
    job.complete();
    job.step(ev::Tick{});
    EXPECT_EQ(job.core().run()->type, RunType::kOneTime);
}

TEST(JobCore, PauseInMidRunKeepsTheRunAndItsId) {
    Life job(spec_of(*Schedule::every(hours(1))));
    job.step(ev::Tick{});
    job.told();
    EXPECT_EQ(job.step(ev::PauseRequested{}), JobAnswer::kDone);
    EXPECT_EQ(job.told(), "STOP job.paused ");
    EXPECT_EQ(job.step(ev::PauseRequested{}), JobAnswer::kUnchanged);
    job.stop();
    EXPECT_EQ(job.told(), "run.paused#1 ");
    EXPECT_TRUE(job.core().run()->paused);
    EXPECT_EQ(job.core().run()->state, RunState::kActive);
    job.after(hours(5));
    EXPECT_EQ(job.told(), "");
    job.reopen();
    EXPECT_EQ(job.told(), "");
    EXPECT_EQ(job.step(ev::ResumeRequested{}), JobAnswer::kDone);
    EXPECT_EQ(job.told(), "job.resumed run.started#1 START ");
    job.complete();
    EXPECT_EQ(job.state(), "Active");
}

TEST(JobCore, ResumedBeforeItHadStoppedItGoesOn) {
    Life job(spec_of(*Schedule::every(hours(1))));
    job.step(ev::Tick{});
    job.step(ev::PauseRequested{});
    job.step(ev::ResumeRequested{});
    job.told();
    job.stop();
    EXPECT_EQ(job.told(), "run.started#1 START ");
}

TEST(JobCore, ARunThatWasGoingOnAtACrashGoesOnUnderItsId) {
    Life job(spec_of(*Schedule::every(hours(1))));
    job.step(ev::Tick{});
    job.told();
    job.reopen();
    EXPECT_EQ(job.told(), "run.continued#1 run.started#1 START ");
    EXPECT_EQ(job.core().run()->continued, 1U);
    job.complete();
    EXPECT_EQ(job.core().job().active_run, 0U);
}

TEST(JobCore, WhatWasMissedWhileDownIsOneRunAtTheStart) {
    Life job(spec_of(*Schedule::every(hours(1))));
    job.step(ev::Tick{});
    job.complete();
    job.told();
    job.after(hours(50), ev::Opened{});
    job.step(ev::Tick{});
    EXPECT_EQ(job.told(), "run.created#2 run.started#2 START ");
    job.complete();
    EXPECT_EQ(job.due_in(), hours(1));
}

TEST(JobCore, CancelEndsTheRunAndNotTheJob) {
    Life job(spec_of(*Schedule::every(hours(1))));
    job.step(ev::Tick{});
    EXPECT_EQ(job.step(ev::CancelRequested{7}), JobAnswer::kNoSuchRun);
    EXPECT_EQ(job.step(ev::CancelRequested{1}), JobAnswer::kDone);
    // The daemon dies before the run has stopped: it is not begun again.
    job.told();
    job.reopen();
    EXPECT_EQ(job.told(), "run.cancelled#1 ");
    EXPECT_EQ(job.state(), "Active");
    EXPECT_EQ(job.due_in(), hours(1));
}

TEST(JobCore, AnEndThatRacesWithACancelIsWhatHappened) {
    Life job(spec_of(*Schedule::every(hours(1))));
    job.step(ev::Tick{});
    job.step(ev::CancelRequested{1});
    job.told();
    job.complete();
    EXPECT_EQ(job.told(), "run.completed#1 ");
}

TEST(JobCore, EditsReachARunThatGoesOn) {
    auto spec = spec_of(*Schedule::every(hours(1)));
    Life job(spec);
    job.step(ev::Tick{});
    job.told();
    EXPECT_EQ(job.step(ev::Edited{spec}), JobAnswer::kUnchanged);
    spec.transfer.rate_mbit = 50;
    EXPECT_EQ(job.step(ev::Edited{spec}), JobAnswer::kDone);
    EXPECT_EQ(job.told(), "RATE=50 job.changed ");
    EXPECT_EQ(job.core().job().revision, 2U);
    spec.target = "/elsewhere";
    EXPECT_EQ(job.step(ev::Edited{spec}), JobAnswer::kRunActive);
    spec.target = "/b";
    spec.schedule = *Schedule::every(hours(2));
    job.step(ev::Edited{spec});
    job.complete();
    EXPECT_EQ(job.due_in(), WallSpan{});  // it had not been run under this order yet
}

TEST(JobCore, DeleteStopsFirst) {
    Life job(spec_of(*Schedule::every(hours(1))));
    job.step(ev::Tick{});
    job.told();
    job.step(ev::DeleteRequested{});
    EXPECT_EQ(job.state(), "Deleting");
    EXPECT_EQ(job.step(ev::RunRequested{}), JobAnswer::kDeleting);
    job.stop();
    EXPECT_EQ(job.told(), "job.deleting STOP run.cancelled#1 job.deleted DROP ");
    EXPECT_TRUE(job.core().deleted());
}

TEST(JobCore, ContinuousBeginsEarlyEnoughForItsLag) {
    Life job(spec_of(*Schedule::continuous(Seconds(60))));
    job.step(ev::Tick{});
    job.after(Seconds(10));
    job.complete();
    // At the next run's end, 10 s after its begin, the replica is 60 s old.
    EXPECT_EQ(job.due_in(), Seconds(40));
    job.after(Seconds(40));
    job.after(Seconds(100));
    job.complete();
    EXPECT_EQ(job.due_in(), Seconds(1));
}

TEST(JobCore, AStartByHandWaits) {
    Life job(spec_of(*Schedule::every(hours(1)), {.kind = Start::Kind::kManual}));
    job.after(hours(100));
    EXPECT_EQ(job.state(), "Pending");
    job.step(ev::RunRequested{});
    job.complete();
    EXPECT_FALSE(job.core().due_at());
    job.step(ev::ResumeRequested{});
    EXPECT_TRUE(job.core().due_at());
}

TEST(JobCore, AClockThatJumpsChangesNoInterval) {
    Life job(spec_of(*Schedule::every(hours(1))));
    job.step(ev::Tick{});
    job.complete();
    job.after(-hours(1000), ev::ClockJumped{-hours(1000)});
    EXPECT_EQ(job.due_in(), hours(1));
    job.after(hours(5000), ev::ClockJumped{hours(5000)});
    EXPECT_EQ(job.due_in(), hours(1));

    Life daily(spec_of(*Schedule::on_calendar("12:00 UTC")));
    EXPECT_EQ(daily.due_in(), hours(12));
    daily.after(-hours(48), ev::ClockJumped{-hours(48)});
    EXPECT_EQ(daily.due_in(), hours(60));  // not started yet: its first start is a time
    daily.after(hours(60));
    daily.complete();
    daily.after(-hours(48), ev::ClockJumped{-hours(48)});
    EXPECT_EQ(daily.due_in(), hours(24));
}

TEST(JobCore, AClockThatWasSetBackWhileDownChangesNoInterval) {
    Life job(spec_of(*Schedule::every(hours(1))));
    job.step(ev::Tick{});
    job.complete();
    job.after(-hours(1000), ev::Opened{});
    EXPECT_LE(job.due_in(), hours(1));
}

// --- jobs that start with a test

Start starting(Start::Kind kind) {
    return {.kind = kind, .at = {}};
}

RunType type_of(const Life& life) {
    return life.core().run()->type;
}

TEST(JobCore, ATestThatIsGoodLetsTheScheduleBegin) {
    Life life(spec_of(*Schedule::every(hours(1)), starting(Start::Kind::kTestThenStart)));
    life.after(Seconds(0));
    EXPECT_EQ(life.told(), "job.created run.created#1 run.started#1 START ");
    EXPECT_EQ(type_of(life), RunType::kTest);
    EXPECT_EQ(life.state(), "Pending");
    // Nothing is missed by a test, and a daemon that dies goes on with it.
    life.after(hours(3));
    life.reopen();
    EXPECT_EQ(type_of(life), RunType::kTest);
    life.complete();
    EXPECT_FALSE(life.core().job().replica_of) << "a test brings nothing";
    life.told();
    life.after(Seconds(0));
    EXPECT_EQ(type_of(life), RunType::kScheduled);
    EXPECT_EQ(life.state(), "Active");
}

TEST(JobCore, ATestThatFailsWaitsForAPerson) {
    Life life(spec_of(*Schedule::every(hours(1)), starting(Start::Kind::kTestThenStart)));
    life.after(Seconds(0));
    life.told();
    life.fail();
    EXPECT_EQ(life.told(), "run.failed#1 ");
    EXPECT_EQ(life.state(), "Pending");
    EXPECT_EQ(life.core().job().failures, 0U);
    life.after(hours(5));
    EXPECT_FALSE(life.core().run());
    life.step(ev::ResumeRequested{});
    life.after(Seconds(0));
    EXPECT_EQ(type_of(life), RunType::kScheduled) << "who resumes it has gone past the test";
}

TEST(JobCore, ATestAloneStartsNothing) {
    Life life(spec_of(Schedule::manual(), starting(Start::Kind::kTestOnly)));
    life.after(Seconds(0));
    EXPECT_EQ(type_of(life), RunType::kTest);
    life.complete();
    life.after(hours(5));
    EXPECT_FALSE(life.core().run());
    EXPECT_EQ(life.state(), "Pending");
    EXPECT_EQ(life.step(ev::RunRequested{}), JobAnswer::kDone);
    EXPECT_EQ(type_of(life), RunType::kOnDemand);
}

TEST(JobCore, ATestThatIsPausedOrInTheWayStillComes) {
    Life life(spec_of(*Schedule::every(hours(1)), starting(Start::Kind::kTestOnly)));
    life.step(ev::RunRequested{});
    life.after(hours(2));
    EXPECT_EQ(type_of(life), RunType::kOnDemand) << "it waits, and is not missed";
    life.step(ev::PauseRequested{});
    life.stop();
    life.step(ev::ResumeRequested{});
    life.complete();
    life.told();
    life.after(Seconds(0));
    ASSERT_TRUE(life.core().run());
    EXPECT_EQ(type_of(life), RunType::kTest);
    life.step(ev::PauseRequested{});
    life.stop();
    life.step(ev::ResumeRequested{});
    EXPECT_EQ(type_of(life), RunType::kTest);
    EXPECT_EQ(life.state(), "Pending");
    life.complete();
    life.after(hours(5));
    EXPECT_FALSE(life.core().run());
}

TEST(JobCore, AnotherTargetIsTestedAnew) {
    Life life(spec_of(*Schedule::every(hours(1)), starting(Start::Kind::kTestOnly)));
    life.after(Seconds(0));
    life.complete();
    JobSpec moved = life.core().job().spec;
    moved.target = "/c";
    life.step(ev::Edited{moved});
    life.after(Seconds(0));
    ASSERT_TRUE(life.core().run());
    EXPECT_EQ(type_of(life), RunType::kTest);
}

}  // namespace
}  // namespace towline
