// SPDX-License-Identifier: Apache-2.0
// Documents in rows; a column of its own has only what is searched for. The form of the tables has
// a version (user_version), and whatever is older is brought to ours when it is opened, a version
// at a time, each in a transaction.

#include "userspace/jobs/store.hpp"

#include <array>

namespace towline {

using nlohmann::json;

namespace {

// One for each version, the first from nothing. Never changed, only added to.
constexpr std::array kMigrations{
    // 1
    "CREATE TABLE job (name TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE run (id INTEGER PRIMARY KEY, job TEXT NOT NULL, state TEXT NOT NULL,"
    "                  created_ms INTEGER NOT NULL, document TEXT NOT NULL);"
    "CREATE INDEX run_of_job ON run (job, id);"
    "CREATE INDEX run_by_age ON run (created_ms);"
    "CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "INSERT INTO counter VALUES ('next_run', 1);"
    "CREATE TABLE event (sequence INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL,"
    "                    type TEXT NOT NULL, job TEXT NOT NULL, run INTEGER NOT NULL,"
    "                    data TEXT NOT NULL);"
    "CREATE TABLE answer (uid INTEGER NOT NULL, key TEXT NOT NULL, at_ms INTEGER NOT NULL,"
    "                     request TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL,"
    "                     PRIMARY KEY (uid, key)) WITHOUT ROWID;"
    "CREATE TABLE audit (sequence INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL,"
    "                    uid INTEGER NOT NULL, pid INTEGER NOT NULL, role TEXT NOT NULL,"
    "                    operation TEXT NOT NULL, object TEXT NOT NULL, before TEXT NOT NULL,"
    "                    after TEXT NOT NULL);",
    // 2: the catalog
    "CREATE TABLE volume (path TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;",
    // 3: whom to tell
    "CREATE TABLE notification (name TEXT PRIMARY KEY, document TEXT NOT NULL,"
    "                           told INTEGER NOT NULL) WITHOUT ROWID;",
    // 4: presets of jobs, one of them supplied; sets of jobs
    "CREATE TABLE template (name TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;"
    "INSERT INTO template VALUES ('two-on-demand', '{\"name\": \"two-on-demand\","
    "  \"description\": \"two runs on demand in 24 h\","
    "  \"options\": {\"on_demand_per_day\": 2}}');"
    "CREATE TABLE job_group (name TEXT PRIMARY KEY, description TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE group_member (job_group TEXT NOT NULL, job TEXT NOT NULL,"
    "                           PRIMARY KEY (job_group, job)) WITHOUT ROWID;"
    "CREATE INDEX groups_of_job ON group_member (job);",
    // 5: kept answers come back with their ETag
    "ALTER TABLE answer ADD COLUMN etag TEXT NOT NULL DEFAULT '';",
    // 6: what an If-Match is held against
    "ALTER TABLE notification ADD COLUMN version TEXT NOT NULL DEFAULT '';",
};

std::int64_t signed_of(std::uint64_t value) {
    return static_cast<std::int64_t>(value);
}

std::int64_t ms_of(WallTime time) {
    return time.time_since_epoch().count();
}

WallTime time_of(std::int64_t ms) {
    return WallTime(WallSpan(ms));
}

// Text of others may hold bytes that are no UTF-8 (a path does): those are shown as U+FFFD.
std::string dumped(const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<json> parsed(const std::string& text) {
    json value = json::parse(text, nullptr, false);
    if (value.is_discarded()) return fail(Code::kCorrupt, "a stored document is no JSON");
    return value;
}

}  // namespace

Result<Store> Store::open(const std::filesystem::path& path) {
    Store store(TRY(Database::open(path)));
    TRY_STATUS(store.migrate());
    return store;
}

Status Store::migrate() {
    std::int64_t version = 0;
    {
        auto asked = TRY(database_.prepare("PRAGMA user_version"));
        if (TRY(asked.step())) version = asked.number(0);
    }
    const auto ours = static_cast<std::int64_t>(kMigrations.size());
    if (version > ours)
        return fail(Code::kUnsupported, "the state file is of a later version (" +
                                            std::to_string(version) + ") than this daemon knows (" +
                                            std::to_string(ours) + ")");
    for (; version < ours; ++version) {
        auto transaction = TRY(begin());
        TRY_STATUS(database_.execute(kMigrations.at(static_cast<std::size_t>(version))));
        const std::string done = "PRAGMA user_version=" + std::to_string(version + 1);
        TRY_STATUS(database_.execute(done.c_str()));
        TRY_STATUS(transaction.commit());
    }
    return {};
}

// --- jobs and runs

Result<std::vector<Scheduler::Stored>> Store::jobs() {
    std::vector<Scheduler::Stored> found;
    {
        auto rows = TRY(database_.prepare("SELECT document FROM job ORDER BY name"));
        while (TRY(rows.step())) {
            const json document = TRY(parsed(rows.text(0)));
            found.push_back({TRY(job_of(document)), std::nullopt});
        }
    }
    for (Scheduler::Stored& each : found) {
        if (each.job.active_run == 0) continue;
        each.active = TRY(run(each.job.active_run));
        if (!each.active)
            return fail(Code::kCorrupt, "the active run of job " + each.job.spec.name +
                                            " is not in the state file");
    }
    return found;
}

Result<std::uint64_t> Store::next_run_id() {
    auto row = TRY(database_.prepare("SELECT value FROM counter WHERE name = 'next_run'"));
    if (!TRY(row.step())) return fail(Code::kCorrupt, "the state file counts no runs");
    return static_cast<std::uint64_t>(row.number(0));
}

Status Store::save(const Job& job) {
    auto row = TRY(database_.prepare("INSERT OR REPLACE INTO job VALUES (?, ?)"));
    return row.bind(job.spec.name).bind(dumped(stored_form(job))).run();
}

Status Store::save(const Run& run) {
    auto row = TRY(database_.prepare("INSERT OR REPLACE INTO run VALUES (?, ?, ?, ?, ?)"));
    row.bind(signed_of(run.id)).bind(run.job).bind(name_of(run.state));
    TRY_STATUS(row.bind(ms_of(run.created_at)).bind(dumped(json_of(run))).run());
    auto counter =
        TRY(database_.prepare("UPDATE counter SET value = max(value, ?) WHERE name = 'next_run'"));
    return counter.bind(signed_of(run.id + 1)).run();
}

Status Store::drop_job(const std::string& name) {
    auto runs = TRY(database_.prepare("DELETE FROM run WHERE job = ?"));
    TRY_STATUS(runs.bind(name).run());
    auto member = TRY(database_.prepare("DELETE FROM group_member WHERE job = ?"));
    TRY_STATUS(member.bind(name).run());
    auto job = TRY(database_.prepare("DELETE FROM job WHERE name = ?"));
    return job.bind(name).run();
}

Result<std::optional<Run>> Store::run(std::uint64_t id) {
    auto row = TRY(database_.prepare("SELECT document FROM run WHERE id = ?"));
    row.bind(signed_of(id));
    if (!TRY(row.step())) return std::nullopt;
    const json document = TRY(parsed(row.text(0)));
    return TRY(run_of(document));
}

Result<Page<Run>> Store::runs(const RunFilter& filter, std::optional<std::uint64_t> below,
                              std::size_t limit) {
    std::string sql = "SELECT document FROM run WHERE id < ?";
    if (!filter.job.empty()) sql += " AND job = ?";
    if (!filter.state.empty()) sql += " AND state = ?";
    sql += " ORDER BY id DESC LIMIT ?";
    auto rows = TRY(database_.prepare(sql));
    rows.bind(below ? signed_of(*below) : INT64_MAX);
    if (!filter.job.empty()) rows.bind(filter.job);
    if (!filter.state.empty()) rows.bind(filter.state);
    rows.bind(signed_of(limit + 1));
    Page<Run> page;
    while (TRY(rows.step())) {
        const json document = TRY(parsed(rows.text(0)));
        page.items.push_back(TRY(run_of(document)));
    }
    if (page.items.size() > limit) {
        page.items.pop_back();
        page.next = page.items.back().id;
    }
    return page;
}

Result<std::vector<json>> Store::volumes() {
    auto rows = TRY(database_.prepare("SELECT document FROM volume ORDER BY path"));
    std::vector<json> found;
    while (TRY(rows.step()))
        found.push_back(TRY(parsed(rows.text(0))));
    return found;
}

Status Store::replace_volumes(const std::vector<json>& volumes) {
    TRY_STATUS(database_.execute("DELETE FROM volume"));
    for (const json& each : volumes) {
        auto row = TRY(database_.prepare("INSERT INTO volume VALUES (?, ?)"));
        TRY_STATUS(row.bind(each.at("path").get<std::string>()).bind(dumped(each)).run());
    }
    return {};
}

// --- events

Status Store::append(JobEventRecord& event) {
    auto row =
        TRY(database_.prepare("INSERT INTO event (at_ms, type, job, run, data) "
                              "VALUES (?, ?, ?, ?, ?) RETURNING sequence"));
    row.bind(ms_of(event.at)).bind(event.type).bind(event.job).bind(signed_of(event.run));
    row.bind(dumped(event.data));
    if (!TRY(row.step())) return fail(Code::kCorrupt, "an event got no number");
    event.sequence = static_cast<std::uint64_t>(row.number(0));
    return row.run();
}

Result<std::vector<JobEventRecord>> Store::events(std::uint64_t since, std::size_t limit) {
    auto rows =
        TRY(database_.prepare("SELECT sequence, at_ms, type, job, run, data FROM event "
                              "WHERE sequence > ? ORDER BY sequence LIMIT ?"));
    rows.bind(signed_of(since)).bind(signed_of(limit));
    std::vector<JobEventRecord> found;
    while (TRY(rows.step())) {
        found.push_back({.sequence = static_cast<std::uint64_t>(rows.number(0)),
                         .at = time_of(rows.number(1)),
                         .type = rows.text(2),
                         .job = rows.text(3),
                         .run = static_cast<std::uint64_t>(rows.number(4)),
                         .data = TRY(parsed(rows.text(5)))});
    }
    return found;
}

Result<std::uint64_t> Store::oldest_event() {
    auto row = TRY(database_.prepare("SELECT coalesce(min(sequence), 0) FROM event"));
    if (!TRY(row.step())) return 0;
    return static_cast<std::uint64_t>(row.number(0));
}

// Of those that were ever given, also when all are gone.
Result<std::uint64_t> Store::newest_event() {
    auto row = TRY(database_.prepare(
        "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'event'"));
    if (!TRY(row.step())) return 0;
    return static_cast<std::uint64_t>(row.number(0));
}

// --- answers and audit

Status Store::keep_answer(std::uint32_t uid, const std::string& key, const KeptAnswer& answer,
                          WallTime now) {
    auto row =
        TRY(database_.prepare("INSERT OR REPLACE INTO answer "
                              "(uid, key, at_ms, request, status, body, etag) "
                              "VALUES (?, ?, ?, ?, ?, ?, ?)"));
    row.bind(std::int64_t{uid}).bind(key).bind(ms_of(now)).bind(answer.request);
    return row.bind(std::int64_t{answer.status}).bind(answer.body).bind(answer.etag).run();
}

Result<std::optional<KeptAnswer>> Store::answer(std::uint32_t uid, const std::string& key,
                                                WallTime now, WallSpan keep) {
    auto row =
        TRY(database_.prepare("SELECT request, status, body, etag FROM answer "
                              "WHERE uid = ? AND key = ? AND at_ms > ?"));
    row.bind(std::int64_t{uid}).bind(key).bind(ms_of(now - keep));
    if (!TRY(row.step())) return std::nullopt;
    return KeptAnswer{row.text(0), static_cast<int>(row.number(1)), row.text(2), row.text(3)};
}

Status Store::append(const AuditRecord& record) {
    auto row = TRY(database_.prepare(
        "INSERT INTO audit (at_ms, uid, pid, role, operation, object, before, after) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"));
    row.bind(ms_of(record.at)).bind(std::int64_t{record.uid}).bind(record.pid).bind(record.role);
    row.bind(record.operation).bind(record.object).bind(dumped(record.before));
    return row.bind(dumped(record.after)).run();
}

Result<Page<AuditRecord>> Store::audit(std::optional<std::uint64_t> below, std::size_t limit) {
    auto rows = TRY(database_.prepare(
        "SELECT sequence, at_ms, uid, pid, role, operation, object, before, after FROM audit "
        "WHERE sequence < ? ORDER BY sequence DESC LIMIT ?"));
    rows.bind(below ? signed_of(*below) : INT64_MAX).bind(signed_of(limit + 1));
    Page<AuditRecord> page;
    while (TRY(rows.step())) {
        page.items.push_back({.sequence = static_cast<std::uint64_t>(rows.number(0)),
                              .at = time_of(rows.number(1)),
                              .uid = static_cast<std::uint32_t>(rows.number(2)),
                              .pid = rows.number(3),
                              .role = rows.text(4),
                              .operation = rows.text(5),
                              .object = rows.text(6),
                              .before = TRY(parsed(rows.text(7))),
                              .after = TRY(parsed(rows.text(8)))});
    }
    if (page.items.size() > limit) {
        page.items.pop_back();
        page.next = page.items.back().sequence;
    }
    return page;
}

Status Store::prune(const Keep& keep, WallTime now) {
    auto transaction = TRY(begin());
    // Runs that go on are the daemon's memory of what to go on with.
    auto old = TRY(database_.prepare(
        "DELETE FROM run WHERE created_ms < ? AND state NOT IN ('Scheduled', 'Active')"));
    TRY_STATUS(old.bind(ms_of(now - keep.run_age)).run());
    auto many = TRY(database_.prepare(
        "DELETE FROM run WHERE state NOT IN ('Scheduled', 'Active') AND id IN "
        "(SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY job ORDER BY id DESC) AS nth "
        "FROM run) WHERE nth > ?)"));
    TRY_STATUS(many.bind(signed_of(keep.runs_per_job)).run());
    auto events = TRY(database_.prepare(
        "DELETE FROM event WHERE sequence <= (SELECT max(sequence) FROM event) - ?"));
    TRY_STATUS(events.bind(signed_of(keep.events)).run());
    auto audit = TRY(database_.prepare(
        "DELETE FROM audit WHERE sequence <= (SELECT max(sequence) FROM audit) - ?"));
    TRY_STATUS(audit.bind(signed_of(keep.audit)).run());
    auto answers = TRY(database_.prepare("DELETE FROM answer WHERE at_ms <= ?"));
    TRY_STATUS(answers.bind(ms_of(now - keep.answers)).run());
    return transaction.commit();
}

}  // namespace towline
