// SPDX-License-Identifier: Apache-2.0
// Two processes with one source's memory, as where one server has two names: wherever the one comes
// between what the other reads and what it writes, all that is pending stays so.

#include <functional>
#include <future>

#include <gtest/gtest.h>

#include "tests/unit/memory_stores.hpp"
#include "tests/unit/prepared_run.hpp"
#include "tests/unit/storage_fixture.hpp"
#include "userspace/engine/file_source_store.hpp"

namespace towline {
namespace {

using testing::prepare_run;
using testing::TemporaryFolder;
using Kind = RunRequest::Kind;

// Many times what the other process needs where nothing keeps it out.
constexpr std::chrono::milliseconds kTimeToCome{500};

// Tells, once, when something was read.
class Watched final : public SourceStore {
  public:
    explicit Watched(SourceStore& store) : store_(store) {}

    Result<MemoryHold> hold(const Uuid& target) override { return store_.hold(target); }
    Result<std::optional<TargetMemory>> load(const Uuid& target) override {
        auto memory = store_.load(target);
        if (const auto tell = std::exchange(on_load, {})) tell();
        return memory;
    }
    Result<std::optional<ChangeMap>> pending(const Uuid& target) override {
        auto map = store_.pending(target);
        if (const auto tell = std::exchange(on_pending, {})) tell();
        return map;
    }
    Status save(const TargetMemory& memory) override { return store_.save(memory); }
    Status save_begun(const TargetMemory& memory, const ChangeMap& pending) override {
        return store_.save_begun(memory, pending);
    }
    Status save_sealed(const TargetMemory& memory) override { return store_.save_sealed(memory); }
    Result<std::vector<Harvest>> harvests() override { return store_.harvests(); }
    Status save_harvest(const Harvest& harvest) override { return store_.save_harvest(harvest); }

    std::function<void()> on_load;
    std::function<void()> on_pending;

  private:
    SourceStore& store_;
};

class SourceMemoryLockTest : public ::testing::Test, public testing::PreparedRunCase {
  protected:
    SourceMemoryLockTest() {
        EXPECT_TRUE(one.save({.target = kTarget, .base = kBase, .volume_bytes = kVolume}));
    }
    FileSourceStore open() {
        const VolumeIdentity identity{.kind = "file", .locator = "8:1/77/9"};
        return std::move(FileSourceStore::open(folder_ / "state", identity, false).value());
    }
    // The other process begins a run, now, and gets as far as it is let.
    void come_between() {
        coming =
            std::async(std::launch::async, [this] { return prepare_run(request, other, opened); });
        coming.wait_for(kTimeToCome);
    }
    TargetMemory memory() { return open().load(kTarget).value().value(); }
    ChangeMap pending() {
        const auto map = open().pending(kTarget).value();
        return map ? *map : ChangeMap(kVolume, kBlock);
    }

    const TemporaryFolder folder_;
    FileSourceStore one = open();
    FileSourceStore other = open();
    std::future<Result<PreparedRun>> coming;
};

TEST_F(SourceMemoryLockTest, ARunThatBeginsWithinACommitKeepsWhatItBrings) {
    PreparedRun first = prepare_run(request, one, opened).value();
    seal(first);
    next_changes(9);
    Watched watched(one);
    watched.on_load = [this] { come_between(); };
    ASSERT_TRUE(commit_run(first, watched));
    const auto second = coming.get();
    ASSERT_TRUE(second) << second.error().text();
    EXPECT_TRUE(pending().test(9));
    EXPECT_EQ(memory().open_runs, std::vector{second->begin.run});
    EXPECT_EQ(memory().base, first.begin.next_base);
}

TEST_F(SourceMemoryLockTest, ARunThatBeginsWhileAComparisonIsNotedKeepsWhatItBrings) {
    request.run.kind = Kind::kScan;
    request.extents = {};
    PreparedRun first = prepare_run(request, one, opened).value();
    first.plan = ChangeMap(kVolume, kBlock);
    first.plan.mark_blocks({.first = 5, .count = 1});
    cut_off(first);
    request.run.kind = Kind::kExtents;
    next_changes(9);
    Watched watched(one);
    watched.on_pending = [this] { come_between(); };
    ASSERT_TRUE(note_plan(first, watched));
    const auto second = coming.get();
    ASSERT_TRUE(second) << second.error().text();
    EXPECT_TRUE(pending().test(5) && pending().test(9));
    EXPECT_EQ(memory().open_runs.back(), second->begin.run);
}

// Planned, asleep, and awake when the other has noted its own.
TEST_F(SourceMemoryLockTest, ARunThatWasOvertakenIsNotNotedOverTheOther) {
    PreparedRun first = plan_run(request, one, opened).value();
    next_changes(9);
    const PreparedRun second = prepare_run(request, other, opened).value();
    const Status noted = note_run(first, one);
    ASSERT_FALSE(noted);
    EXPECT_EQ(noted.error().code, Code::kBusy);
    EXPECT_EQ(memory(), second.memory);
    EXPECT_EQ(pending(), second.plan);
}

TEST_F(SourceMemoryLockTest, WhatARunCameToKnowIsNotTakenBackByOneThatItOvertook) {
    PreparedRun first = prepare_run(request, one, opened).value();
    cut_off(first);
    next_changes(9);
    PreparedRun second = prepare_run(request, other, opened).value();
    ASSERT_TRUE(distrust_plan(second, other));
    EXPECT_FALSE(note_plan(first, one));
    EXPECT_EQ(memory().pending_trust, Trust::kUnknown);
    // Nor is what the older one knows lost.
    ASSERT_TRUE(note_known(
        first, one, [&](TargetMemory& memory) { memory.flush_failed_run = first.begin.run; }));
    EXPECT_EQ(memory().flush_failed_run, first.begin.run);
    EXPECT_EQ(memory().pending_trust, Trust::kUnknown);
    EXPECT_EQ(memory().open_runs.back(), second.begin.run);
    EXPECT_TRUE(pending().test(9));
}

// Two writers in one slot of the file would be two states, or none.
TEST_F(SourceMemoryLockTest, WhoeverWritesWaitsForWhoHoldsIt) {
    const TargetMemory memory{.target = kTarget, .base = kBase, .volume_bytes = kVolume};
    const std::function<Status()> writes[] = {
        [&] { return other.save(memory); },
        [&] { return other.save_begun(memory, ChangeMap(kVolume, kBlock)); },
        [&] { return other.save_sealed(memory); },
    };
    for (const auto& write : writes) {
        MemoryHold held = one.hold(kTarget).value();
        auto writing = std::async(std::launch::async, write);
        EXPECT_EQ(writing.wait_for(kTimeToCome), std::future_status::timeout);
        held.reset();
        EXPECT_TRUE(writing.get());
    }
}

// What comes back to its own hold does not wait for itself.
TEST_F(SourceMemoryLockTest, AHoldIsHeldByOneProcessAsOftenAsItLikes) {
    {
        const MemoryHold outer = one.hold(kTarget).value();
        const MemoryHold inner = one.hold(kTarget).value();
        EXPECT_TRUE(one.save({.target = kTarget}));
    }
    EXPECT_TRUE(other.hold(kTarget));
}

}  // namespace
}  // namespace towline
