// SPDX-License-Identifier: Apache-2.0
// Rounds get smaller as long as a source is copied faster than it is written to; where it is not,
// that is said, with the rates.

#include "userspace/engine/convergence.hpp"

#include <gtest/gtest.h>

#include "userspace/engine/rounds.hpp"

namespace towline {
namespace {

using Next = Convergence::Next;

constexpr std::uint64_t kMib = 1 << 20;

// A source that is written to, and a link: what each round brings and takes.
struct Source {
    double written_rate;  // bytes a second
    double copied_rate;
    Duration plain = 50ms;  // a round's beginning and end

    Convergence::Round first(std::uint64_t bytes) { return round(bytes, false); }
    Convergence::Round next() { return round(static_cast<std::uint64_t>(waiting), true); }
    Convergence::Round round(std::uint64_t bytes, bool listed) {
        const double seconds = static_cast<double>(bytes) / copied_rate;
        const Duration elapsed =
            plain + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
        waiting = written_rate * std::chrono::duration<double>(elapsed).count();
        return {.bytes = bytes, .elapsed = elapsed, .listed = listed};
    }
    double waiting = 0;
};

Next run(Convergence& convergence, Source& source, std::uint64_t bytes) {
    Next next = convergence.after(source.first(bytes));
    while (next == Next::kLive && convergence.rounds() < 100)
        next = convergence.after(source.next());
    return next;
}

TEST(Convergence, ASlowWriterIsCaughtUpWith) {
    Convergence convergence(10s);
    Source source{.written_rate = 20e6, .copied_rate = 200e6};
    EXPECT_EQ(run(convergence, source, 4096 * kMib), Next::kFrozen);
    EXPECT_LE(convergence.rounds(), 4U);
    EXPECT_LE(convergence.expected_freeze(), 200ms);
    EXPECT_NEAR(convergence.dirty_bytes_per_second(), 20e6, 1e6);
    // What really is left is what was estimated.
    EXPECT_NEAR(source.waiting, convergence.bytes_left(), 1e5);
}

TEST(Convergence, AFullCopyTellsNothingOfWhatIsLeft) {
    Convergence convergence(10s);
    EXPECT_EQ(convergence.after({.bytes = 1 << 12, .elapsed = 600s, .listed = false}), Next::kLive);
}

TEST(Convergence, AnIdleSourceIsFrozenAfterOneList) {
    Convergence convergence(10s);
    EXPECT_EQ(convergence.after({.bytes = kMib, .elapsed = 60ms}), Next::kFrozen);
}

TEST(Convergence, WhoIsFasterThanTheLinkIsGivenUp) {
    Convergence convergence(10s);
    Source source{.written_rate = 300e6, .copied_rate = 100e6};
    EXPECT_EQ(run(convergence, source, 4096 * kMib), Next::kGiveUp);
    EXPECT_LE(convergence.rounds(), 4U);
    EXPECT_NEAR(convergence.dirty_bytes_per_second(), 300e6, 3e7);
    EXPECT_NEAR(convergence.copied_bytes_per_second(), 100e6, 1e7);
}

// It shrinks no more, but fits into the limit by far.
TEST(Convergence, WhatDoesNotShrinkMayBeLittleEnough) {
    Convergence convergence(60s);
    Source source{.written_rate = 95e6, .copied_rate = 100e6, .plain = 300ms};
    EXPECT_EQ(run(convergence, source, 1024 * kMib), Next::kFrozen);
    EXPECT_LE(convergence.expected_freeze(), 30s);
}

// What is left takes 150 ms: little enough, and not for who was wrong twice.
TEST(Convergence, ALastRoundThatOverranIsTriedAgainWithLess) {
    const Convergence::Round brought{.bytes = 15'000'000, .elapsed = 150ms};
    Convergence convergence(1s);
    ASSERT_EQ(convergence.after(brought), Next::kFrozen);
    ASSERT_EQ(convergence.overran(brought), Next::kLive);
    ASSERT_EQ(convergence.after(brought), Next::kFrozen);
    ASSERT_EQ(convergence.overran(brought), Next::kLive);
    // It is no less than before, as it brings that as well; only a second time it shrinks no more.
    ASSERT_EQ(convergence.after(brought), Next::kLive);
    EXPECT_EQ(convergence.after(brought), Next::kGiveUp);
    EXPECT_EQ(convergence.rounds(), 6U);
}

TEST(Convergence, ThreeThatOverranAreEnough) {
    const Convergence::Round brought{.bytes = 5'000'000, .elapsed = 50ms};
    Convergence convergence(10s);
    for (const Next next : {Next::kLive, Next::kLive, Next::kGiveUp}) {
        ASSERT_EQ(convergence.after(brought), Next::kFrozen);
        ASSERT_EQ(convergence.overran(brought), next);
    }
    EXPECT_EQ(convergence.overruns(), 3U);
}

// --- the rounds themselves

class Rounds : public ::testing::Test {
  protected:
    Result<RunReport> run(std::vector<std::uint64_t> bytes) {
        return run_in_rounds(options, [&](const SyncOptions& round) -> Result<RunReport> {
            asked.push_back(round);
            RunReport report{.mode = asked.size() == 1 ? RunMode::kFull : RunMode::kExtents,
                             .cause = asked.size() == 1 ? Cause::kFirstCopy : Cause::kTracked};
            report.bytes_changed = report.bytes_sent = bytes.at(asked.size() - 1);
            report.elapsed = 1s;
            if (round.moment.snapshot == MomentWish::Snapshot::kFrozen && retreats > 0) {
                --retreats;
                report.mode = RunMode::kScan;
                report.moment.retreated = true;
                return report;
            }
            if (round.moment.snapshot == MomentWish::Snapshot::kFrozen && overruns > 0) {
                --overruns;
                report.moment.overran = true;
                return report;
            }
            report.moment.label = round.moment.snapshot == MomentWish::Snapshot::kFrozen
                                      ? Label::kFilesystem
                                      : Label::kFuzzy;
            return report;
        });
    }
    SyncOptions options;
    std::vector<SyncOptions> asked;
    unsigned retreats = 0;  // of frozen rounds: the tracker does not know what changed
    unsigned overruns = 0;  // of frozen rounds: it was thawed before they were done
};

TEST_F(Rounds, TheLastIsFrozenAndTheReportIsOfAll) {
    options.overwrite = options.resume = true;
    options.kind = RunRequest::Kind::kFull;
    options.hooks_folder = "/hooks";
    const auto report = run({100 * kMib, kMib, 3}).value();
    ASSERT_EQ(asked.size(), 3U);
    EXPECT_EQ(asked[0].kind, RunRequest::Kind::kFull);
    EXPECT_TRUE(asked[0].overwrite && asked[0].resume);
    EXPECT_EQ(asked[1].kind, RunRequest::Kind::kAuto);
    EXPECT_FALSE(asked[1].overwrite || asked[1].resume);
    for (const std::size_t live : {0U, 1U}) {
        EXPECT_EQ(asked[live].moment.snapshot, MomentWish::Snapshot::kNone);
        EXPECT_TRUE(asked[live].hooks_folder.empty());
        EXPECT_EQ(asked[live].audit_blocks, 0U);
        EXPECT_EQ(asked[live].audit_period, Duration::zero());
    }
    EXPECT_EQ(asked[2].moment.snapshot, MomentWish::Snapshot::kFrozen);
    EXPECT_EQ(asked[2].hooks_folder, "/hooks");
    EXPECT_EQ(asked[2].audit_blocks, options.audit_blocks);
    EXPECT_EQ(asked[2].audit_part_max, options.audit_blocks);
    EXPECT_EQ(report.moment.label, Label::kFilesystem);
    EXPECT_EQ(report.cause, Cause::kFirstCopy);
    EXPECT_EQ(report.bytes_sent, 101 * kMib + 3);
    EXPECT_EQ(report.rounds, 3U);
    EXPECT_NEAR(report.dirty_bytes_per_second, static_cast<double>(kMib), 1);
}

// What is to be compared as a whole is not compared while the source stands still.
TEST_F(Rounds, AGapJustBeforeTheLastRoundPutsItOff) {
    retreats = 1;
    const auto report = run({100 * kMib, kMib, 5 * kMib, 2}).value();
    ASSERT_EQ(asked.size(), 4U);
    EXPECT_EQ(asked[1].moment.snapshot, MomentWish::Snapshot::kNone);
    EXPECT_EQ(asked[2].moment.snapshot, MomentWish::Snapshot::kFrozen);
    EXPECT_EQ(asked[3].moment.snapshot, MomentWish::Snapshot::kFrozen);
    EXPECT_EQ(report.moment.label, Label::kFilesystem);
    EXPECT_EQ(report.rounds, 4U);
    EXPECT_EQ(report.bytes_sent, 106 * kMib + 2);
}

TEST_F(Rounds, ATrackerThatNeverKnowsIsToldOf) {
    retreats = 100;
    const auto refused = run(std::vector<std::uint64_t>(40, 3));
    EXPECT_EQ(refused.error().code, Code::kRefused);
    EXPECT_NE(refused.error().context.find("snapshot"), std::string::npos);
}

TEST_F(Rounds, WhatOverranIsBroughtByALiveOne) {
    overruns = 1;
    const auto report = run({100 * kMib, kMib, 5 * kMib, 2 * kMib, 2}).value();
    ASSERT_EQ(asked.size(), 5U);
    EXPECT_EQ(asked[2].moment.snapshot, MomentWish::Snapshot::kFrozen);
    EXPECT_EQ(asked[3].moment.snapshot, MomentWish::Snapshot::kNone);
    EXPECT_TRUE(asked[3].hooks_folder.empty());
    EXPECT_EQ(asked[4].moment.snapshot, MomentWish::Snapshot::kFrozen);
    EXPECT_EQ(report.moment.label, Label::kFilesystem);
    EXPECT_EQ(report.rounds, 5U);
    EXPECT_EQ(report.bytes_sent, 108 * kMib + 2);
}

TEST_F(Rounds, OneThatAlwaysOverrunsIsToldOf) {
    overruns = 100;
    const auto refused = run(std::vector<std::uint64_t>(40, 3));
    EXPECT_EQ(refused.error().code, Code::kRefused);
    for (const char* word : {"not converging", "stopped 3 times", "--freeze-max"})
        EXPECT_NE(refused.error().context.find(word), std::string::npos) << refused.error().context;
}

TEST_F(Rounds, GivingUpNamesTheRatesAndFreezesNothing) {
    options.freeze_max = 1s;
    const auto refused = run(std::vector<std::uint64_t>(20, 4000 * kMib));
    EXPECT_EQ(refused.error().code, Code::kRefused);
    for (const char* word : {"not converging", "4000 MiB/s", "--freeze-max"})
        EXPECT_NE(refused.error().context.find(word), std::string::npos) << refused.error().context;
    for (const SyncOptions& round : asked)
        EXPECT_EQ(round.moment.snapshot, MomentWish::Snapshot::kNone);
}

}  // namespace
}  // namespace towline
