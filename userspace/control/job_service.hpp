// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>

#include "io/fd.hpp"
#include "userspace/control/http.hpp"
#include "userspace/control/run_executor.hpp"
#include "userspace/jobs/store.hpp"

namespace towline {

// The daemon's jobs: the scheduler that decides, the store that remembers, the executor that does.
// One lock around the first two; every decision is durable before anything is done or answered.
class JobService {
  public:
    struct Config {
        RunPlaces places;
        Scheduler::Limits limits;
        Store::Keep keep;
        std::function<void(const JobEventRecord&)> log = [](const JobEventRecord&) {};
    };

    // One request that may change something: under the lock, within one transaction.
    class Session {
      public:
        JobAnswer step(const std::string& job, const JobEvent& event);
        bool create(JobSpec spec);
        // An event that is no job's ("group.changed"); it comes after those of the jobs.
        void tell(std::string type, nlohmann::json data);

        const Scheduler& scheduler() const { return service_.scheduler_; }
        Store& store() { return service_.store_; }
        Clocks now() const { return now_; }

      private:
        friend class JobService;
        Session(JobService& service, Clocks now) : service_(service), now_(now) {}
        JobService& service_;
        const Clocks now_;
        std::vector<JobAction> actions_;
        std::vector<JobEventRecord> told_;
    };

    // Locks the state folder, and goes on with what was going on.
    static Result<std::unique_ptr<JobService>> open(Config config);
    ~JobService();

    // `request` decides within a session; what it leaves is made durable before this returns. An
    // error: nothing of it is, and the scheduler is again what is stored.
    Status change(const std::function<Status(Session&)>& request);
    // Under the same lock, changing nothing.
    void look(const std::function<void(const Scheduler&, Store&)>& reader);

    std::optional<LiveRun> live(std::uint64_t run) const { return executor_->live(run); }
    // Returns when the run has ended, the time is over, or the daemon stops.
    void wait_for_end(std::uint64_t run, std::chrono::milliseconds span);
    // Returns when there are events after `since`, the time is over, or the daemon stops.
    void wait_for_events(std::uint64_t since, std::chrono::milliseconds span);

    // Begins what is due until stop(). `alive` is called at least every few seconds.
    Status run(const std::function<void()>& alive);
    // From any thread: run() returns, and nobody waits any longer.
    void stop();
    bool stopping() const { return stopping_; }
    const Config& config() const { return config_; }
    WallTime started_at() const { return started_at_; }

  private:
    JobService(Config config, Fd lock, Store store);

    Status commit(Session& session, Transaction& transaction);
    Status save(const std::vector<JobAction>& actions, std::vector<JobEventRecord>& events,
                WallTime now);
    void perform(const std::vector<JobAction>& actions);
    Status reopen();
    void on_run_ended(const job_event::RunEnded& end);
    Status housekeep(Clocks now);

    const Config config_;
    const Fd lock_;
    const WallTime started_at_;
    std::atomic<bool> stopping_ = false;
    std::mutex mutex_;
    std::condition_variable changed_;  // an event was added, a due time moved, or stop()
    Store store_;                      // under mutex_
    Scheduler scheduler_;              // under mutex_
    std::set<std::uint64_t> running_;  // under mutex_: started, and not yet said to have ended
    std::uint64_t newest_event_ = 0;   // under mutex_
    bool lost_ = false;                // under mutex_: neither saved nor read again
    std::optional<Clocks> pruned_;     // main loop only
    // Taken down first: the ends of runs come to the members above.
    std::unique_ptr<RunExecutor> executor_;
};

}  // namespace towline
