// SPDX-License-Identifier: Apache-2.0
// A year of many jobs in seconds: runs that end well, badly or never, people who pause, cancel,
// edit and delete, crashes between any two steps, and clocks that jump. What may not be: a job that
// runs twice at once, one that is stuck, one that is forgotten.

#include <cstdio>

#include <gtest/gtest.h>

#include "io/simulated_random.hpp"
#include "tests/environment.hpp"
#include "userspace/jobs/scheduler.hpp"

namespace towline {
namespace {

namespace act = job_action;
namespace ev = job_event;
using std::chrono::days;
using std::chrono::hours;
using std::chrono::minutes;
using Seconds = std::chrono::seconds;

class World {
  public:
    World(std::uint64_t seed, std::size_t job_count) : random_(seed), seed_(seed) {
        for (std::size_t i = 0; i < job_count; ++i)
            create("job" + std::to_string(i));
    }

    void live(WallSpan span) {
        const Instant end = now_.monotonic + span;
        while (now_.monotonic < end && !::testing::Test::HasFailure())
            turn();
        settle();
    }

    std::size_t runs_begun() const { return begun_; }
    std::size_t crashes() const { return crashes_; }

  private:
    struct Execution {
        std::string job;
        Instant ends;
        bool stopping = false;
    };

    void turn() {
        const WallSpan step(static_cast<std::int64_t>(random_.between(1'000, 1'200'000)));
        now_.wall += step;
        now_.monotonic += step;
        if (random_.chance(0.0005)) jump();
        if (random_.chance(0.002)) crash();
        if (random_.chance(0.05)) person();
        end_runs();
        std::vector<JobAction> actions;
        scheduler_.tick(now_, actions);
        perform(actions);
        check();
    }

    void jump() {
        const auto by = static_cast<std::int64_t>(random_.between(0, 6L * 86400)) - 3L * 86400;
        now_.wall += Seconds(by);
    }

    JobSpec draw(const std::string& name) {
        JobSpec spec;
        spec.name = name;
        spec.volumes = {"/dev/" + name};
        spec.target = "/replica/" + name;
        switch (random_.below(6)) {
            case 0:
                spec.schedule = Schedule::once(now_.wall + hours(random_.below(500)));
                break;
            case 1:
                spec.schedule = *Schedule::on_calendar(random_.chance(0.5) ? "02:30 Europe/Berlin"
                                                                           : "Mon,Thu *:00/30 UTC");
                break;
            case 2:
                spec.schedule = *Schedule::continuous(Seconds(random_.between(60, 3600)));
                break;
            case 3:
                break;
            default:
                spec.schedule = *Schedule::every(minutes(random_.between(10, 3000)));
        }
        if (random_.chance(0.2))
            spec.start = {.kind = Start::Kind::kAt, .at = now_.wall + hours(random_.below(100))};
        if (random_.chance(0.1)) spec.start.kind = Start::Kind::kTestThenStart;
        if (random_.chance(0.05)) spec.start.kind = Start::Kind::kTestOnly;
        spec.on_demand_per_day = static_cast<unsigned>(random_.below(3));
        return spec;
    }

    void create(const std::string& name) {
        std::vector<JobAction> actions;
        ASSERT_TRUE(scheduler_.create(draw(name), now_, actions));
        perform(actions);
    }

    void person() {
        if (scheduler_.jobs().empty()) return;
        auto at = scheduler_.jobs().begin();
        std::advance(at, static_cast<long>(random_.below(scheduler_.jobs().size())));
        const std::string name = at->first;
        const std::uint64_t run = at->second.run() ? at->second.run()->id : 0;
        JobEvent event = ev::RunRequested{};
        switch (random_.below(8)) {
            case 0:
                event = ev::PauseRequested{};
                break;
            case 1:
                event = ev::CancelRequested{run};
                break;
            case 2: {
                JobSpec spec = draw(name);
                spec.volumes = at->second.job().spec.volumes;
                spec.target = at->second.job().spec.target;
                event = ev::Edited{spec};
                break;
            }
            case 3:
                if (random_.chance(0.1)) event = ev::DeleteRequested{};
                break;
            case 4:
            case 5:
                event = ev::ResumeRequested{};
                break;
            default:
                break;
        }
        std::vector<JobAction> actions;
        scheduler_.step(name, event, now_, actions);
        perform(actions);
        if (std::holds_alternative<ev::DeleteRequested>(event)) deleted_.push_back(name);
        for (const std::string& gone : deleted_)
            if (scheduler_.find(gone) == nullptr) create(gone);
        std::erase_if(deleted_, [&](const auto& each) {
            return scheduler_.find(each) != nullptr &&
                   scheduler_.find(each)->job().state != JobState::kDeleting;
        });
    }

    // A daemon that dies: what was saved is all that is left. It dies between any two steps, and
    // after what a step saved but before what it was to start.
    void crash() {
        ++crashes_;
        executions_.clear();
        down_once_ = random_.chance(0.3) ? hours(random_.below(200)) : hours(0);
        now_.wall += down_once_;
        now_.monotonic += down_once_;
        std::vector<Scheduler::Stored> stored;
        for (const auto& [name, job] : jobs_) {
            std::optional<Run> active;
            if (job.active_run != 0) active = runs_.at(job.active_run);
            stored.push_back({job, active});
        }
        std::vector<JobAction> actions;
        scheduler_.open(std::move(stored), next_id_, {}, now_, actions);
        perform(actions);
    }

    void end_runs() {
        std::vector<std::uint64_t> ended;
        for (const auto& [id, execution] : executions_)
            if (execution.ends <= now_.monotonic) ended.push_back(id);
        for (const std::uint64_t id : ended) {
            const auto found = executions_.find(id);
            if (found == executions_.end()) continue;  // a crash in between
            const Execution execution = found->second;
            executions_.erase(found);
            ev::RunEnded end{.run = runs_.at(id)};
            if (execution.stopping && random_.chance(0.9)) {
                end.how = ev::RunEnded::How::kStopped;
            } else if (random_.chance(0.15)) {
                end.how = ev::RunEnded::How::kFailed;
                end.run.failure = RunFailure{"io", "", true};
            }
            std::vector<JobAction> actions;
            scheduler_.step(execution.job, end, now_, actions);
            perform(actions);
        }
    }

    void perform(const std::vector<JobAction>& actions) {
        for (const JobAction& action : actions) {
            if (const auto* save = std::get_if<act::SaveJob>(&action)) {
                jobs_[save->job.spec.name] = save->job;
            } else if (const auto* save_run = std::get_if<act::SaveRun>(&action)) {
                runs_[save_run->run.id] = save_run->run;
                next_id_ = std::max(next_id_, save_run->run.id + 1);
            } else if (const auto* drop = std::get_if<act::DropJob>(&action)) {
                jobs_.erase(drop->name);
            }
        }
        // The saves are one transaction; a crash may come before the rest.
        if (random_.chance(0.001)) return crash();
        for (const JobAction& action : actions) {
            if (const auto* start = std::get_if<act::StartRun>(&action)) {
                begin(*start);
            } else if (const auto* stop = std::get_if<act::StopRun>(&action)) {
                auto& execution = executions_.at(stop->run);
                execution.stopping = true;
                execution.ends = std::min(execution.ends, now_.monotonic + Seconds(2));
            }
        }
    }

    void begin(const act::StartRun& start) {
        for (const auto& [id, execution] : executions_)
            ASSERT_NE(execution.job, start.run.job) << "twice at once, seed " << seed_;
        ASSERT_EQ(runs_.at(start.run.id).state, RunState::kActive) << "not durable, seed " << seed_;
        ASSERT_EQ(jobs_.at(start.run.job).active_run, start.run.id) << "seed " << seed_;
        const auto takes = minutes(random_.between(1, random_.chance(0.05) ? 3000 : 60));
        executions_[start.run.id] = {.job = start.run.job, .ends = now_.monotonic + takes};
        ++begun_;
    }

    void check() {
        ASSERT_LE(executions_.size(), kRunsMax) << "seed " << seed_;
        for (const auto& [name, core] : scheduler_.jobs()) {
            ASSERT_EQ(core.executing(), core.run() && executions_.contains(core.run()->id))
                << name << ", seed " << seed_;
            ASSERT_EQ(jobs_.at(name).state, core.job().state) << name << ", seed " << seed_;
            const JobState state = core.job().state;
            const bool lives = state == JobState::kActive || state == JobState::kFailing;
            const bool manual = core.job().spec.schedule.kind == Schedule::Kind::kManual;
            // Forgotten: nothing that it waits for.
            ASSERT_TRUE(!lives || manual || core.run() || core.due_at())
                << name << " " << name_of(state) << ", seed " << seed_;
            // Stuck: due, and not begun.
            ASSERT_TRUE(!core.due_at() || *core.due_at() > now_.wall) << name << ", seed " << seed_;
            ASSERT_TRUE(state != JobState::kDeleting || core.run()) << name << ", seed " << seed_;
        }
        for (const auto& [id, execution] : executions_)
            ASSERT_NE(scheduler_.find(execution.job), nullptr) << "seed " << seed_;
    }

    // Nobody interferes any more: whatever is due comes, and every run ends.
    void settle() {
        for (int i = 0; i < 20'000 && !::testing::Test::HasFailure(); ++i) {
            now_.wall += minutes(1);
            now_.monotonic += minutes(1);
            end_runs();
            std::vector<JobAction> actions;
            scheduler_.tick(now_, actions);
            perform(actions);
        }
        for (const auto& [id, run] : runs_) {
            const bool open =
                !run.ended() && jobs_.contains(run.job) && jobs_.at(run.job).active_run != id;
            ASSERT_FALSE(open) << "run " << id << " never ends, seed " << seed_;
        }
    }

    static constexpr std::size_t kRunsMax = 60;

    SimulatedRandom random_;
    std::uint64_t seed_;
    Clocks now_{.wall = *parse_time("2026-01-01T00:00:00Z"), .monotonic = Instant(hours(1))};
    Scheduler scheduler_{{.jobs_max = 1000, .runs_max = kRunsMax}};
    std::map<std::uint64_t, Execution> executions_;
    std::vector<std::string> deleted_;
    hours down_once_{};
    // What is durable.
    std::map<std::string, Job> jobs_;
    std::map<std::uint64_t, Run> runs_;
    std::uint64_t next_id_ = 1;
    std::size_t begun_ = 0;
    std::size_t crashes_ = 0;
};

TEST(JobsSimulation, AYearOf200Jobs) {
    const std::uint64_t seed = testing::from_environment("TOWLINE_SEED", 1);
    World world(seed, 200);
    world.live(days(365));
    std::printf("seed %llu: %zu runs, %zu crashes\n", static_cast<unsigned long long>(seed),
                world.runs_begun(), world.crashes());
    EXPECT_GT(world.runs_begun(), 40'000U);
    EXPECT_GT(world.crashes(), 50U);
}

TEST(JobsSimulation, MonthsOfFewJobs) {
    const std::uint64_t seeds = testing::from_environment("TOWLINE_COUNT", 100) / 10;
    const std::uint64_t first = testing::from_environment("TOWLINE_SEED", 1);
    for (std::uint64_t seed = first; seed < first + seeds && !HasFailure(); ++seed) {
        World world(seed * 7919, 12);
        world.live(days(60));
        EXPECT_GT(world.runs_begun(), 0U) << "seed " << seed;
    }
}

}  // namespace
}  // namespace towline
