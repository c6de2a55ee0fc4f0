// SPDX-License-Identifier: Apache-2.0
// One job's life as traces: what is asked of it, and what it does.

#include "userspace/jobs/job_core.hpp"

#include "tests/unit/job_life.hpp"

namespace towline {
namespace {

namespace ev = job_event;
using std::chrono::hours;
using std::chrono::minutes;
using testing::kBegin;
using testing::Life;
using testing::spec_of;
using Seconds = std::chrono::seconds;

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

TEST(JobCore, AOneTimeJobThatFailedIsMadeGoodByARunOnDemand) {
    Life job(spec_of(Schedule::once(kBegin)));
    job.step(ev::Tick{});
    job.fail();
    job.step(ev::RunRequested{});
    job.fail();
    EXPECT_EQ(job.state(), "Failing");
    EXPECT_EQ(job.due_in(), Seconds(30));
    job.step(ev::RunRequested{});
    job.complete();
    EXPECT_EQ(job.state(), "Completed");
}

TEST(JobCore, AOneTimeJobThatGotAnotherTimeMeanwhileIsNotOver) {
    Life job(spec_of(Schedule::once(kBegin)));
    job.step(ev::Tick{});
    job.step(ev::NextRunSet{kBegin + hours(5)});
    job.complete();
    EXPECT_EQ(job.state(), "Active");
    EXPECT_EQ(job.due_in(), hours(5));
}

TEST(JobCore, AOneTimeJobThatGotAScheduleMeanwhileKeepsToIt) {
    for (const bool completes : {true, false}) {
        Life job(spec_of(Schedule::once(kBegin)));
        job.step(ev::Tick{});
        job.step(ev::Edited{spec_of(*Schedule::every(hours(5)))});
        job.step(ev::PauseRequested{});
        job.stop();
        job.step(ev::ResumeRequested{});
        if (completes) {
            job.complete();
        } else {
            job.step(ev::CancelRequested{job.core().run()->id});
            job.stop();
        }
        EXPECT_EQ(job.state(), "Active") << completes;
        EXPECT_TRUE(job.core().due_at()) << completes;
    }
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

}  // namespace
}  // namespace towline
