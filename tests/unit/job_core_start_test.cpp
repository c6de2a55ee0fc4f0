// SPDX-License-Identifier: Apache-2.0
// How a job begins: at once, at a time, by hand, or after a test.

#include "tests/unit/job_life.hpp"
#include "userspace/jobs/job_core.hpp"

namespace towline {
namespace {

namespace ev = job_event;
using std::chrono::hours;
using testing::kBegin;
using testing::Life;
using testing::spec_of;
using Seconds = std::chrono::seconds;

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
