// SPDX-License-Identifier: Apache-2.0
// A decision that cannot be made durable is not half made: the scheduler is read again from the
// store, with the runs that still go on. If that fails too the daemon ends, and whoever starts it
// again finds the store as it was.

#include "userspace/control/job_service.hpp"

#include <algorithm>

#include "io/check.hpp"
#include "io/durable_file.hpp"

namespace towline {

namespace act = job_action;
namespace ev = job_event;

namespace {

// A clock that jumps is noticed by then.
constexpr WallSpan kNapMax = std::chrono::seconds(2);
constexpr Duration kPruneInterval = std::chrono::minutes(10);

}  // namespace

JobAnswer JobService::Session::step(const std::string& job, const JobEvent& event) {
    return service_.scheduler_.step(job, event, now_, actions_);
}

bool JobService::Session::create(JobSpec spec) {
    return service_.scheduler_.create(std::move(spec), now_, actions_);
}

void JobService::Session::tell(std::string type, nlohmann::json data) {
    told_.push_back({.at = now_.wall, .type = std::move(type), .job = "", .data = std::move(data)});
}

JobService::JobService(Config config, Fd lock, Store store)
    : config_(std::move(config)),
      lock_(std::move(lock)),
      started_at_(clocks_now().wall),
      store_(std::move(store)),
      scheduler_(config_.limits),
      executor_(std::make_unique<RunExecutor>(
          config_.places, [this](const ev::RunEnded& end) { on_run_ended(end); })) {}

JobService::~JobService() {
    stop();
    executor_->close();
}

Result<std::unique_ptr<JobService>> JobService::open(Config config) {
    TRY_STATUS(make_folder(config.places.state_folder));
    Fd lock =
        TRY(lock_file(config.places.state_folder / "towlined.lock",
                      "the state folder " + config.places.state_folder.string(), kHolderDies));
    Store store = TRY(Store::open(config.places.state_folder / "towlined.sqlite"));
    std::unique_ptr<JobService> service(
        new JobService(std::move(config), std::move(lock), std::move(store)));
    const std::lock_guard lock_guard(service->mutex_);
    service->newest_event_ = TRY(service->store_.newest_event());
    TRY_STATUS(service->reopen());
    return service;
}

// Under the lock.
Status JobService::reopen() {
    auto stored = TRY(store_.jobs());
    const std::uint64_t next_run = TRY(store_.next_run_id());
    Session session(*this, clocks_now());
    scheduler_.open(std::move(stored), next_run, running_, session.now_, session.actions_);
    auto transaction = TRY(store_.begin());
    return commit(session, transaction);
}

Status JobService::change(const std::function<Status(Session&)>& request) {
    const std::lock_guard lock(mutex_);
    if (lost_) return fail(Code::kIo, "the daemon ends: its state cannot be saved");
    Session session(*this, clocks_now());
    Status done = [&]() -> Status {
        auto transaction = TRY(store_.begin());
        TRY_STATUS(request(session));
        return commit(session, transaction);
    }();
    if (done) return {};
    if (const Status again = reopen(); !again) {
        lost_ = true;
        changed_.notify_all();
    }
    return done;
}

Status JobService::commit(Session& session, Transaction& transaction) {
    std::vector<JobEventRecord> events;
    TRY_STATUS(save(session.actions_, events, session.now_.wall));
    for (JobEventRecord& each : session.told_) {
        TRY_STATUS(store_.append(each));
        events.push_back(std::move(each));
    }
    TRY_STATUS(transaction.commit());
    perform(session.actions_);
    for (const JobEventRecord& event : events)
        config_.log(event);
    if (!events.empty()) newest_event_ = events.back().sequence;
    if (!session.actions_.empty() || !events.empty()) changed_.notify_all();
    return {};
}

Status JobService::save(const std::vector<JobAction>& actions, std::vector<JobEventRecord>& events,
                        WallTime now) {
    std::map<std::uint64_t, const Run*> runs;
    for (const JobAction& action : actions) {
        if (const auto* job = std::get_if<act::SaveJob>(&action)) {
            TRY_STATUS(store_.save(job->job));
        } else if (const auto* run = std::get_if<act::SaveRun>(&action)) {
            TRY_STATUS(store_.save(run->run));
            runs[run->run.id] = &run->run;
        } else if (const auto* drop = std::get_if<act::DropJob>(&action)) {
            TRY_STATUS(store_.drop_job(drop->name));
        } else if (const auto* tell = std::get_if<act::Tell>(&action)) {
            JobEventRecord event{.at = now, .type = tell->type, .job = tell->job, .run = tell->run};
            if (const auto found = runs.find(tell->run); found != runs.end())
                event.data = json_of(*found->second);
            TRY_STATUS(store_.append(event));
            events.push_back(std::move(event));
        }
    }
    return {};
}

void JobService::perform(const std::vector<JobAction>& actions) {
    for (const JobAction& action : actions) {
        if (const auto* start = std::get_if<act::StartRun>(&action)) {
            running_.insert(start->run.id);
            executor_->start(*start);
        } else if (const auto* stop_run = std::get_if<act::StopRun>(&action)) {
            executor_->stop(stop_run->run);
        } else if (const auto* change = std::get_if<act::ChangeTransfer>(&action)) {
            executor_->change(change->run, change->transfer);
        }
    }
}

void JobService::on_run_ended(const ev::RunEnded& end) {
    static_cast<void>(change([&](Session& session) -> Status {
        // Should the end not be saved, the run is read again as one that is not there any more, and
        // goes on.
        running_.erase(end.run.id);
        if (scheduler_.find(end.run.job) != nullptr) session.step(end.run.job, end);
        return {};
    }));
}

void JobService::look(const std::function<void(const Scheduler&, Store&)>& reader) {
    const std::lock_guard lock(mutex_);
    reader(scheduler_, store_);
}

void JobService::wait_for_end(std::uint64_t run, std::chrono::milliseconds span) {
    const auto until = std::chrono::steady_clock::now() + span;
    std::unique_lock lock(mutex_);
    const auto over = [&] {
        return stopping_ || std::ranges::none_of(scheduler_.jobs(), [&](const auto& each) {
                   return each.second.run() && each.second.run()->id == run;
               });
    };
    changed_.wait_until(lock, until, over);
}

void JobService::wait_for_events(std::uint64_t since, std::chrono::milliseconds span) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, span, [&] { return stopping_ || newest_event_ > since; });
}

Status JobService::housekeep(Clocks now) {
    executor_->reap();
    if (pruned_ && now.monotonic - pruned_->monotonic < kPruneInterval) return {};
    pruned_ = now;
    const std::lock_guard lock(mutex_);
    return store_.prune(config_.keep, now.wall);
}

Status JobService::run(const std::function<void()>& alive) {
    while (!stopping_) {
        alive();
        const Clocks now = clocks_now();
        // That history grows is no reason to stop replicating.
        static_cast<void>(housekeep(now));
        // Also when nothing is due: the scheduler sees the clock by it.
        const Status ticked = change([](Session& session) -> Status {
            session.service_.scheduler_.tick(session.now_, session.actions_);
            return {};
        });
        std::unique_lock lock(mutex_);
        if (lost_) return fail(Code::kIo, "the state cannot be saved: " + ticked.error().text());
        if (stopping_) break;
        const auto next = ticked ? scheduler_.next_due() : std::nullopt;
        const WallSpan nap = next ? std::min(kNapMax, *next - clocks_now().wall) : kNapMax;
        if (nap > WallSpan{}) changed_.wait_for(lock, nap);
    }
    return {};
}

void JobService::stop() {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
}

}  // namespace towline
