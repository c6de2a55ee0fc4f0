// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <vector>

#include <nlohmann/json.hpp>

#include "userspace/jobs/database.hpp"
#include "userspace/jobs/job_group.hpp"
#include "userspace/jobs/job_json.hpp"
#include "userspace/jobs/job_template.hpp"
#include "userspace/jobs/notification.hpp"
#include "userspace/jobs/scheduler.hpp"

namespace towline {

// What happened, for who follows. Numbers grow by one, over restarts too.
struct JobEventRecord {
    std::uint64_t sequence = 0;
    WallTime at{};
    std::string type;
    std::string job;
    std::uint64_t run = 0;
    nlohmann::json data = nlohmann::json::object();
};

// Who changed what.
struct AuditRecord {
    std::uint64_t sequence = 0;
    WallTime at{};
    std::uint32_t uid = 0;
    std::int64_t pid = 0;
    std::string role;
    std::string operation;
    std::string object;
    nlohmann::json before;
    nlohmann::json after;
};

// An answer that a repeated request gets again.
struct KeptAnswer {
    std::string request;  // what it was the answer to
    int status = 0;
    std::string body;
    std::string etag;  // empty: it had none
};

// One page of something that has an order: `next` is what to ask from on; nothing: the last page.
template <typename T>
struct Page {
    std::vector<T> items;
    std::optional<std::uint64_t> next;
};

// All durable state of the daemon but the engine's own: jobs, runs, events, answers, audit. One
// thread at a time; writing is between begin() and the transaction's commit.
class Store {
  public:
    struct Keep {
        std::size_t runs_per_job = 500;
        WallSpan run_age = std::chrono::days(90);
        std::size_t events = 20'000;
        std::size_t audit = 50'000;
        WallSpan answers = std::chrono::hours(24);
    };
    // Whom to tell, and the last event that it has been told, or that was there before it.
    struct Told {
        Notification notification;
        std::uint64_t sequence = 0;
        // Drawn at each change: of a secret that is not shown, nothing else may be told. Empty: of
        // a version that drew none.
        std::string version;
    };
    struct RunFilter {
        std::string job;    // empty: of all
        std::string state;  // empty: any
    };

    static Result<Store> open(const std::filesystem::path& path);

    Result<std::vector<Scheduler::Stored>> jobs();
    Result<std::uint64_t> next_run_id();
    Result<std::optional<Run>> run(std::uint64_t id);
    // The newest first; `below` is the cursor.
    Result<Page<Run>> runs(const RunFilter& filter, std::optional<std::uint64_t> below,
                           std::size_t limit);
    // From `since` on, not including it.
    Result<std::vector<JobEventRecord>> events(std::uint64_t since, std::size_t limit);
    Result<std::uint64_t> oldest_event();  // 0: none
    Result<std::uint64_t> newest_event();
    Result<Page<AuditRecord>> audit(std::optional<std::uint64_t> below, std::size_t limit);
    // Of the catalog, by path: what was imported.
    Result<std::vector<nlohmann::json>> volumes();
    Result<std::vector<Told>> notifications();
    Result<std::vector<JobTemplate>> templates();
    Result<std::vector<JobGroup>> groups();
    Result<std::optional<KeptAnswer>> answer(std::uint32_t uid, const std::string& key,
                                             WallTime now, WallSpan keep);

    Result<Transaction> begin() { return Transaction::begin(database_); }
    Status save(const Job& job);
    Status save(const Run& run);
    Status drop_job(const std::string& name);  // with its runs, and out of its groups
    Status replace_volumes(const std::vector<nlohmann::json>& volumes);
    Status save(const Told& told);
    Status set_told(const std::string& name, std::uint64_t sequence);
    Status drop_notification(const std::string& name);
    Status save(const JobTemplate& preset);
    Status drop_template(const std::string& name);
    Status save(const JobGroup& group);
    Status drop_group(const std::string& name);
    Status append(JobEventRecord& event);  // its number is filled in
    Status append(const AuditRecord& record);
    Status keep_answer(std::uint32_t uid, const std::string& key, const KeptAnswer& answer,
                       WallTime now);
    // Takes away what is older or more than is kept. Never of a run that goes on.
    Status prune(const Keep& keep, WallTime now);

  private:
    explicit Store(Database database) : database_(std::move(database)) {}
    Status migrate();
    Database database_;
};

}  // namespace towline
