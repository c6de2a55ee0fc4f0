// SPDX-License-Identifier: Apache-2.0
// The indexes say only what each job says of itself, and are found anew after each of its steps: no
// list of who is due or running can differ from the jobs.

#include "userspace/jobs/scheduler.hpp"

#include "io/check.hpp"

namespace towline {

namespace ev = job_event;

namespace {

// What a clock may be corrected by without anybody noticing.
constexpr WallSpan kJumpMin = std::chrono::seconds(2);

}  // namespace

void Scheduler::open(std::vector<Stored> stored, std::uint64_t next_run_id,
                     const std::set<std::uint64_t>& executing, Clocks now,
                     std::vector<JobAction>& actions) {
    *this = Scheduler(limits_);
    next_run_id_ = next_run_id;
    seen_ = now;
    for (Stored& each : stored) {
        const std::string name = each.job.spec.name;
        const bool executed = each.active && executing.contains(each.active->id);
        const auto added =
            jobs_.try_emplace(name, std::move(each.job), std::move(each.active)).first;
        step_core(added->second, ev::Opened{.executing = executed}, now.wall, actions);
        if (added->second.deleted()) {
            unindex(name);
            jobs_.erase(added);
        }
    }
    tick(now, actions);
}

// NOLINTNEXTLINE(performance-unnecessary-value-param): the new job takes it
bool Scheduler::create(JobSpec spec, Clocks now, std::vector<JobAction>& actions) {
    if (jobs_.size() >= limits_.jobs_max) return false;
    notice_jump(now, actions);
    const std::string name = spec.name;
    const auto [added, fresh] = jobs_.try_emplace(name, std::move(spec), now.wall, actions);
    CHECK(fresh);
    index(added->second);
    return true;
}

JobAnswer Scheduler::step(const std::string& name, const JobEvent& event, Clocks now,
                          std::vector<JobAction>& actions) {
    notice_jump(now, actions);
    const auto found = jobs_.find(name);
    CHECK(found != jobs_.end());
    const JobAnswer answer = found->second.step(event, now.wall, next_run_id_, actions);
    index(found->second);
    if (found->second.deleted()) {
        unindex(name);
        jobs_.erase(found);
    }
    admit(now.wall, actions);
    return answer;
}

void Scheduler::tick(Clocks now, std::vector<JobAction>& actions) {
    notice_jump(now, actions);
    while (!due_.empty() && due_.begin()->first <= now.wall) {
        const std::string name = due_.begin()->second;
        step_core(jobs_.at(name), ev::Tick{}, now.wall, actions);
    }
    admit(now.wall, actions);
}

void Scheduler::notice_jump(Clocks now, std::vector<JobAction>& actions) {
    if (seen_) {
        const auto passed =
            std::chrono::floor<std::chrono::milliseconds>(now.monotonic - seen_->monotonic);
        const WallSpan jump = (now.wall - seen_->wall) - passed;
        if (jump >= kJumpMin || jump <= -kJumpMin) {
            for (auto& [name, core] : jobs_)
                step_core(core, ev::ClockJumped{jump}, now.wall, actions);
        }
    }
    seen_ = now;
}

void Scheduler::step_core(JobCore& core, const JobEvent& event, WallTime now,
                          std::vector<JobAction>& actions) {
    core.step(event, now, next_run_id_, actions);
    index(core);
}

void Scheduler::unindex(const std::string& name) {
    if (const auto due = due_of_.find(name); due != due_of_.end()) {
        due_.erase({due->second, name});
        due_of_.erase(due);
    }
    if (const auto waiting = waiting_of_.find(name); waiting != waiting_of_.end()) {
        waiting_.erase(waiting->second);
        waiting_of_.erase(waiting);
    }
    executing_.erase(name);
}

void Scheduler::index(const JobCore& core) {
    const std::string& name = core.job().spec.name;
    unindex(name);
    if (const auto due = core.wake_at()) {
        due_.emplace(*due, name);
        due_of_.emplace(name, *due);
    }
    if (core.wants_to_execute()) {
        waiting_.emplace(core.run()->id, name);
        waiting_of_.emplace(name, core.run()->id);
    }
    if (core.executing()) executing_.insert(name);
}

void Scheduler::admit(WallTime now, std::vector<JobAction>& actions) {
    while (!waiting_.empty() && executing_.size() < limits_.runs_max) {
        const std::string name = waiting_.begin()->second;
        step_core(jobs_.at(name), ev::Admitted{}, now, actions);
    }
}

std::optional<WallTime> Scheduler::next_due() const {
    if (due_.empty()) return std::nullopt;
    return due_.begin()->first;
}

const JobCore* Scheduler::find(const std::string& name) const {
    const auto found = jobs_.find(name);
    return found == jobs_.end() ? nullptr : &found->second;
}

}  // namespace towline
