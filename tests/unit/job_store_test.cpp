// SPDX-License-Identifier: Apache-2.0
// What the daemon remembers: as it was saved, whole or not at all, and no more than is wanted.

#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/unit/storage_fixture.hpp"
#include "userspace/jobs/store.hpp"

namespace towline {
namespace {

const WallTime kNow = *parse_time("2026-06-01T12:00:00Z");

class StoreTest : public ::testing::Test {
  protected:
    StoreTest() : store_(*Store::open(path())) {}

    std::string path() const { return folder_ / "state.sqlite"; }
    void reopen() { store_ = *Store::open(path()); }

    static Job job(const std::string& name) {
        Job job;
        job.spec.name = name;
        job.spec.description = "täglich \xff";  // bytes that are no UTF-8 come from elsewhere
        job.spec.tags = {"a", "b"};
        job.spec.volumes = {"/dev/x"};
        job.spec.target = "tcp://host:1/x";
        job.spec.from_template = "gold";
        job.spec.start = {.kind = Start::Kind::kTestThenStart, .at = {}};
        job.spec.schedule = *Schedule::continuous(std::chrono::seconds(5));
        job.spec.transfer = {.rate_mbit = 2.5, .level = 3, .verify = true};
        job.state = JobState::kFailing;
        job.tested = true;
        job.revision = 7;
        job.created_at = job.changed_at = kNow;
        job.retry_at = kNow + std::chrono::seconds(30);
        job.failures = 2;
        job.on_demand = {kNow, kNow + WallSpan(1)};
        job.replica_of = kNow - std::chrono::hours(1);
        job.last_duration = WallSpan(1234);
        job.point = "p";
        return job;
    }
    // The fixture has a Run of its own.
    static towline::Run run(std::uint64_t id, RunState state, WallTime at = kNow) {
        towline::Run run;
        run.id = id;
        run.job = "job";
        run.state = state;
        run.created_at = at;
        return run;
    }
    template <typename T>
    void save(const T& what) {
        auto transaction = store_.begin();
        ASSERT_TRUE(transaction);
        ASSERT_TRUE(store_.save(what));
        ASSERT_TRUE(transaction->commit());
    }
    std::vector<std::uint64_t> run_ids() {
        std::vector<std::uint64_t> ids;
        const auto page = store_.runs({}, std::nullopt, 500);
        for (const towline::Run& each : page->items)
            ids.push_back(each.id);
        return ids;
    }

    testing::TemporaryFolder folder_;
    Store store_;
};

TEST_F(StoreTest, AJobIsWhatItWas) {
    Job saved = job("job");
    towline::Run active = run(41, RunState::kActive);
    active.stage = RunStage::kTransfer;
    active.paused = true;
    active.continued = 3;
    active.scheduled_at = kNow;
    active.numbers = {.total_bytes = 1, .changed_bytes = 2, .done_bytes = 3, .sent_bytes = 4};
    active.numbers.dirty_bytes_per_second = 2.5;
    active.failure = RunFailure{"io", "no", true};
    saved.active_run = active.id;
    save(saved);
    save(active);
    reopen();
    const auto jobs = store_.jobs();
    ASSERT_TRUE(jobs) << jobs.error().text();
    ASSERT_EQ(jobs->size(), 1U);
    saved.spec.description = "täglich \xef\xbf\xbd";
    EXPECT_EQ(stored_form(jobs->at(0).job), stored_form(saved));
    EXPECT_EQ(jobs->at(0).job.spec, saved.spec);
    EXPECT_EQ(json_of(*jobs->at(0).active), json_of(active));
    EXPECT_EQ(*store_.next_run_id(), 42U);
}

TEST_F(StoreTest, EveryScheduleAndStartComesBack) {
    for (const Schedule& schedule :
         {Schedule::manual(), Schedule::once(kNow), *Schedule::every(std::chrono::minutes(90)),
          *Schedule::on_calendar("Mon 02:30 UTC"), *Schedule::continuous(WallSpan(1500))}) {
        for (const Start& start :
             {Start{}, Start{.kind = Start::Kind::kNow}, Start{.kind = Start::Kind::kManual},
              Start{.kind = Start::Kind::kTestOnly}, Start{.kind = Start::Kind::kTestThenStart},
              Start{.kind = Start::Kind::kAt, .at = kNow}}) {
            Job each = job("job");
            each.spec.schedule = schedule;
            each.spec.start = start;
            save(each);
            EXPECT_EQ(store_.jobs()->at(0).job.spec.schedule, schedule);
            EXPECT_EQ(store_.jobs()->at(0).job.spec.start, start);
        }
    }
}

TEST_F(StoreTest, GroupsHoldJobsThatAreThere) {
    const JobGroup empty{.name = "a", .description = "none yet", .jobs = {}};
    JobGroup full{.name = "b", .description = "", .jobs = {"job", "other"}};
    save(empty);
    save(full);
    reopen();
    EXPECT_EQ(*store_.groups(), (std::vector<JobGroup>{empty, full}));
    full.jobs = {"job"};
    save(full);
    EXPECT_EQ(*store_.groups(), (std::vector<JobGroup>{empty, full})) << "others are out of it";
    {
        auto undone = store_.begin();
        ASSERT_TRUE(store_.drop_job("job"));
    }
    EXPECT_EQ(*store_.groups(), (std::vector<JobGroup>{empty, full}));
    ASSERT_TRUE(store_.drop_job("job"));
    EXPECT_TRUE(store_.groups()->at(1).jobs.empty());
    ASSERT_TRUE(store_.drop_group("b"));
    EXPECT_EQ(*store_.groups(), std::vector<JobGroup>{empty});
}

TEST_F(StoreTest, TemplatesComeBackAndOneIsSupplied) {
    JobTemplate gold{.name = "gold", .description = "täglich", .options = {{"verify", true}}};
    save(gold);
    reopen();
    const auto both = *store_.templates();
    ASSERT_EQ(both.size(), 2U);
    EXPECT_EQ(both[0], gold);
    EXPECT_EQ(both[1].options, (nlohmann::json{{"on_demand_per_day", 2}}));
    ASSERT_TRUE(store_.drop_template("two-on-demand"));
    reopen();
    EXPECT_EQ(store_.templates()->size(), 1U) << "what was deleted stays so";
}

TEST_F(StoreTest, WhatIsNotCommittedIsNotThere) {
    {
        auto transaction = store_.begin();
        ASSERT_TRUE(store_.save(job("job")));
        JobEventRecord event{.at = kNow, .type = "t", .job = "job"};
        ASSERT_TRUE(store_.append(event));
        EXPECT_EQ(event.sequence, 1U);
    }
    EXPECT_TRUE(store_.jobs()->empty());
    EXPECT_TRUE(store_.events(0, 10)->empty());
}

TEST_F(StoreTest, AnActiveRunThatIsNotThereIsDamage) {
    Job broken = job("job");
    broken.active_run = 5;
    save(broken);
    const auto jobs = store_.jobs();
    ASSERT_FALSE(jobs);
    EXPECT_EQ(jobs.error().code, Code::kCorrupt);
}

TEST_F(StoreTest, DamagedDocumentsAreNeverHalfBelieved) {
    save(job("job"));
    auto database = Database::open(path());
    for (const char* document : {"{", "[]", "{}", "null", "{\"spec\": 1}"}) {
        auto row = database->prepare("UPDATE job SET document = ?");
        ASSERT_TRUE(row->bind(document).run());
        const auto jobs = store_.jobs();
        ASSERT_FALSE(jobs) << document;
        EXPECT_EQ(jobs.error().code, Code::kCorrupt) << document;
    }
}

// As the first version made it, with something in each of its tables.
constexpr const char* kFirstVersion =
    "CREATE TABLE job (name TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE run (id INTEGER PRIMARY KEY, job TEXT NOT NULL, state TEXT NOT NULL,"
    "  created_ms INTEGER NOT NULL, document TEXT NOT NULL);"
    "CREATE INDEX run_of_job ON run (job, id);"
    "CREATE INDEX run_by_age ON run (created_ms);"
    "CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "INSERT INTO counter VALUES ('next_run', 12);"
    "CREATE TABLE event (sequence INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL,"
    "  type TEXT NOT NULL, job TEXT NOT NULL, run INTEGER NOT NULL, data TEXT NOT NULL);"
    "INSERT INTO event VALUES (5, 1, 'job.created', 'job', 0, '{}');"
    "CREATE TABLE answer (uid INTEGER NOT NULL, key TEXT NOT NULL, at_ms INTEGER NOT NULL,"
    "  request TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL,"
    "  PRIMARY KEY (uid, key)) WITHOUT ROWID;"
    "CREATE TABLE audit (sequence INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL,"
    "  uid INTEGER NOT NULL, pid INTEGER NOT NULL, role TEXT NOT NULL, operation TEXT NOT NULL,"
    "  object TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL);"
    "INSERT INTO audit VALUES (3, 1, 0, 9, 'admin', 'put_job', 'job', 'null', '{}');"
    "PRAGMA user_version = 1;";

TEST_F(StoreTest, AFileOfTheFirstVersionIsBroughtToOurs) {
    const auto old = folder_ / "old.sqlite";
    {
        auto file = Database::open(old);
        ASSERT_TRUE(file);
        ASSERT_TRUE(file->execute(kFirstVersion));
        auto row = file->prepare("INSERT INTO answer VALUES (7, 'key', ?, 'PUT', 201, 'body')");
        ASSERT_TRUE(row->bind(kNow.time_since_epoch().count()).run());
        auto job_row = file->prepare("INSERT INTO job VALUES ('job', ?)");
        ASSERT_TRUE(job_row
                        ->bind(stored_form(job("job"))
                                   .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace))
                        .run());
    }
    for (int opened = 0; opened < 2; ++opened) {
        auto store = Store::open(old);
        ASSERT_TRUE(store) << store.error().text();
        const auto kept = *store->answer(7, "key", kNow, std::chrono::hours(24));
        ASSERT_TRUE(kept) << "what was answered yesterday is answered so today";
        EXPECT_EQ(kept->body, "body");
        EXPECT_EQ(kept->etag, "") << "nobody kept it";
        ASSERT_EQ(store->jobs()->size(), 1U);
        EXPECT_EQ(store->jobs()->front().job.failures, 2U);
        EXPECT_EQ(*store->next_run_id(), 12U);
        EXPECT_EQ(*store->newest_event(), 5U);
        EXPECT_EQ(store->audit(std::nullopt, 9)->items.size(), 1U);
        EXPECT_EQ(store->templates()->size(), 1U) << "the supplied one";
        EXPECT_TRUE(store->groups()->empty() && store->notifications()->empty());
        ASSERT_TRUE(store->keep_answer(8, "key", {"PUT", 200, "b", "t"}, kNow));
        EXPECT_EQ((*store->answer(8, "key", kNow, std::chrono::hours(24)))->etag, "t");
    }
}

TEST_F(StoreTest, AFileOfALaterVersionIsLeftAlone) {
    ASSERT_TRUE(Database::open(path())->execute("PRAGMA user_version = 99"));
    const auto later = Store::open(path());
    ASSERT_FALSE(later);
    EXPECT_EQ(later.error().code, Code::kUnsupported);
}

TEST_F(StoreTest, AFileThatIsNoDatabaseIsRefused) {
    const auto other = folder_ / "other";
    std::ofstream(other) << std::string(8192, 'x');
    const auto opened = Store::open(other);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, Code::kCorrupt);
}

TEST_F(StoreTest, RunsArePagedNewestFirst) {
    for (std::uint64_t id = 1; id <= 7; ++id)
        save(run(id, id % 2 == 0 ? RunState::kFailed : RunState::kCompleted));
    const auto first = store_.runs({.job = "job", .state = ""}, std::nullopt, 3);
    EXPECT_EQ(first->items.front().id, 7U);
    EXPECT_EQ(first->next, 5U);
    EXPECT_EQ(store_.runs({}, first->next, 3)->items.front().id, 4U);
    EXPECT_EQ(store_.runs({}, 2, 3)->items.size(), 1U);
    EXPECT_EQ(store_.runs({}, 2, 3)->next, std::nullopt);
    EXPECT_EQ(store_.runs({.job = "", .state = "Failed"}, std::nullopt, 9)->items.size(), 3U);
    EXPECT_TRUE(store_.runs({.job = "other", .state = ""}, std::nullopt, 9)->items.empty());
}

TEST_F(StoreTest, HistoryIsKeptByCountAndAgeAndNeverWhatGoesOn) {
    save(run(1, RunState::kActive, kNow - std::chrono::days(400)));
    save(run(2, RunState::kCompleted, kNow - std::chrono::days(100)));
    for (std::uint64_t id = 3; id <= 9; ++id)
        save(run(id, RunState::kCompleted));
    ASSERT_TRUE(store_.prune({.runs_per_job = 4, .run_age = std::chrono::days(90)}, kNow));
    EXPECT_EQ(run_ids(), (std::vector<std::uint64_t>{9, 8, 7, 6, 1}));
    EXPECT_EQ(*store_.next_run_id(), 10U);
}

TEST_F(StoreTest, NumbersOfRunsAreNeverGivenTwice) {
    save(run(8, RunState::kCompleted));
    ASSERT_TRUE(store_.drop_job("job"));
    EXPECT_TRUE(run_ids().empty());
    reopen();
    EXPECT_EQ(*store_.next_run_id(), 9U);
}

TEST_F(StoreTest, EventsKeepTheirNumbersWhenTheOldOnesGo) {
    for (int i = 0; i < 10; ++i) {
        JobEventRecord event{.at = kNow, .type = "t", .job = "job", .data = {{"i", i}}};
        ASSERT_TRUE(store_.append(event));
        EXPECT_EQ(event.sequence, static_cast<std::uint64_t>(i) + 1);
    }
    ASSERT_TRUE(store_.prune({.events = 3}, kNow));
    const auto kept = store_.events(0, 100);
    ASSERT_EQ(kept->size(), 3U);
    EXPECT_EQ(kept->front().sequence, 8U);
    EXPECT_EQ(kept->front().data.at("i"), 7);
    reopen();
    EXPECT_EQ(*store_.newest_event(), 10U);
    EXPECT_EQ(*store_.oldest_event(), 8U);
}

TEST_F(StoreTest, AnAnswerIsKeptADayAndItsUsersOwn) {
    ASSERT_TRUE(store_.keep_answer(7, "key", {"PUT", 201, "body", "\"tag\""}, kNow));
    const auto day = std::chrono::hours(24);
    const auto kept = *store_.answer(7, "key", kNow + day - WallSpan(1), day);
    ASSERT_TRUE(kept);
    EXPECT_EQ(kept->request + kept->body + kept->etag, "PUTbody\"tag\"");
    EXPECT_EQ(kept->status, 201);
    EXPECT_FALSE(*store_.answer(8, "key", kNow, day));
    EXPECT_FALSE(*store_.answer(7, "key", kNow + day, day));
    ASSERT_TRUE(store_.prune({}, kNow + day));
    EXPECT_FALSE(*store_.answer(7, "key", kNow, day));
}

}  // namespace
}  // namespace towline
