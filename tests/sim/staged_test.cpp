// SPDX-License-Identifier: Apache-2.0
// A target that is whole stays whole: killed or cut off from its power at any event of a run, it is
// the old moment, or, to whoever takes it over without its source, the new one.

#include <gtest/gtest.h>

#include "tests/environment.hpp"
#include "tests/sim/sync_bench.hpp"

namespace towline {
namespace {

using Kind = RunRequest::Kind;
using Stage = TargetRecord::Stage;

constexpr BenchShape kImage{.source_bytes = (200 << 10) + 77};
constexpr BenchShape kDevice{
    .source_bytes = (200 << 10) + 77, .target_bytes = 260 << 10, .target_is_image = false};

class Staged {
  public:
    Staged(std::uint64_t seed, const BenchShape& shape) : bench(seed, shape) {
        fill_random_data(bench.source, bench.random, 0, shape.source_bytes);
        RunPlan first = plan(Kind::kFull);
        first.overwrite = true;
        EXPECT_TRUE(bench.run(first).succeeded());
        old = bench.target.durable_contents();
        change();
    }

    RunPlan plan(Kind kind) const {
        RunPlan plan;
        plan.kind = kind;
        if (kind == Kind::kExtents) plan.extents = changed;
        plan.block_bytes = 4096;
        plan.buffer_bytes = 16 << 10;
        plan.checkpoint_bytes = 16 << 10;
        return plan;
    }
    // Some blocks, a stretch of zeros, and the volume's odd end.
    void change() {
        const std::uint64_t size = bench.shape.source_bytes;
        changed = {{4096, 8192}, {40960, 20480}, {81920, 16384}, {size - 77, 77}};
        for (const Extent& extent : changed)
            fill_random_data(bench.source, bench.random, extent.offset_bytes, extent.end_bytes());
        bench.source.fill(40960, std::vector<std::byte>(12288));
    }
    // Empty: the target is wholly the one or wholly the other.
    std::string half() {
        auto found = bench.taken_over();
        if (found == old) return {};
        const auto ours = bench.source.contents();
        if (!bench.shape.target_is_image) found.resize(ours.size());
        return found == ours ? "" : "between two moments";
    }
    bool new_one() { return bench.taken_over() != old; }

    SyncBench bench;
    std::vector<std::byte> old;
    std::vector<Extent> changed;
};

struct Counts {
    int old_ones = 0;
    int new_ones = 0;
    int applying = 0;
};

// False: the run ended before its nth event.
bool die_at_event(const BenchShape& shape, std::uint64_t event, bool power, Counts& counts) {
    Staged staged(event, shape);
    SyncBench& bench = staged.bench;
    RunPlan dying = staged.plan(event % 3 == 0 ? Kind::kScan : Kind::kExtents);
    dying.verify = event % 4 == 0;
    dying.kill = Kill{.side = event % 5 == 0 ? Side::kSource : Side::kTarget, .event = event};
    const RunResult died = bench.run(dying);
    if (!died.source_killed && !died.target_killed) return false;
    if (power) bench.cut_power();
    EXPECT_EQ(staged.half(), "") << "event " << event;
    counts.applying += bench.target_shelf.record.stage == Stage::kCommitted;
    (staged.new_one() ? counts.new_ones : counts.old_ones)++;
    // The next run makes it the source, with what it finds and no comparison of everything.
    RunPlan next = staged.plan(Kind::kExtents);
    next.resume = event % 2 == 0;
    const RunResult again = bench.run(next);
    EXPECT_TRUE(again.succeeded()) << "event " << event;
    EXPECT_EQ(bench.difference(true), "") << "event " << event;
    EXPECT_TRUE(bench.rest_untouched());
    return !::testing::Test::HasFailure();
}

// Every seventh event; TOWLINE_STRIDE=1 is all of them.
void die_everywhere(const BenchShape& shape, bool power) {
    const std::uint64_t stride = testing::from_environment("TOWLINE_STRIDE", 7);
    Counts counts;
    std::uint64_t event = 1;
    while (die_at_event(shape, event, power, counts))
        event += stride;
    EXPECT_GE(counts.old_ones, 5);
    EXPECT_GE(counts.new_ones, 3);
    EXPECT_GE(counts.applying, 2);
}

TEST(Staged, KilledAtEveryEventOfARunToAnImage) {
    die_everywhere(kImage, false);
}

TEST(Staged, KilledAtEveryEventOfARunToADevice) {
    die_everywhere(kDevice, false);
}

TEST(Staged, PowerCutAtEveryEventOfARunToAnImage) {
    die_everywhere(kImage, true);
}

TEST(Staged, PowerCutAtEveryEventOfARunToADevice) {
    die_everywhere(kDevice, true);
}

// Whoever applies may die as well, as often as he likes.
TEST(Staged, ApplyingIsBegunAnewUntilItEnds) {
    int replays = 0;
    for (std::uint64_t seed = 1; seed <= 40 && !::testing::Test::HasFailure(); ++seed) {
        Staged staged(seed, seed % 2 == 0 ? kImage : kDevice);
        SyncBench& bench = staged.bench;
        std::uint64_t writes_left = 1 + seed % 6;
        RunPlan dying = staged.plan(Kind::kExtents);
        const auto die_while_applying = [&] {
            const bool applying = bench.target_shelf.record.stage == Stage::kCommitted;
            if (applying && writes_left > 0 && --writes_left == 0) bench.kill(Side::kTarget);
        };
        dying.after_event = die_while_applying;
        EXPECT_FALSE(bench.run(dying).succeeded());
        EXPECT_EQ(bench.target_shelf.record.stage, Stage::kCommitted);
        for (int again = 0; again < 3; ++again) {
            bench.cut_power();
            EXPECT_EQ(staged.half(), "") << "seed " << seed;
            EXPECT_TRUE(staged.new_one());
            writes_left = 1 + bench.random.below(8);
            const bool replayed = bench.run(dying).succeeded();
            replays += replayed ? 0 : 1;
            if (replayed) break;
        }
        EXPECT_TRUE(bench.run(staged.plan(Kind::kExtents)).succeeded());
        EXPECT_EQ(bench.difference(true), "") << "seed " << seed;
    }
    EXPECT_GE(replays, 20);
}

// Every operation on the file of staged blocks fails once, and every write and flush of applying.
TEST(Staged, EveryFaultOfTheDisks) {
    int failed_runs = 0;
    for (const DiskOperation operation : {DiskOperation::kWrite, DiskOperation::kFlush,
                                          DiskOperation::kRead, DiskOperation::kZero}) {
        for (const bool of_target : {false, true}) {
            for (std::uint64_t nth = 1; nth <= 8; ++nth) {
                Staged staged(nth, nth % 2 == 0 ? kImage : kDevice);
                SyncBench& bench = staged.bench;
                SimulatedDisk& disk = of_target ? bench.target : bench.staged;
                disk.add_fault({operation, nth, nth % 3 == 0 ? ENOSPC : EIO});
                const RunResult failed = bench.run(staged.plan(Kind::kExtents));
                disk.clear_faults();
                failed_runs += !failed.succeeded();
                EXPECT_EQ(staged.half(), "") << "nth " << nth;
                RunPlan next = staged.plan(Kind::kExtents);
                next.resume = nth % 2 == 0;
                EXPECT_TRUE(bench.run(next).succeeded()) << "nth " << nth;
                EXPECT_EQ(bench.difference(true), "") << "nth " << nth;
            }
        }
    }
    EXPECT_GE(failed_runs, 15);
}

// Once the first of it is in the index.
RunPlan cut_off(Staged& staged) {
    RunPlan plan = staged.plan(Kind::kExtents);
    plan.after_event = [&bench = staged.bench] {
        const auto index = staged_index_of(bench.target_shelf);
        if (index && !index->empty()) bench.kill(Side::kTarget);
    };
    return plan;
}

// A run takes the place of one that was cut off, and fails at any of its steps: whatever of the
// older one may still be resumed is there.
TEST(Staged, AnOlderRunIsForgottenBeforeItsBlocksAre) {
    int resumable = 0;
    for (std::uint64_t nth = 1; nth <= 24 && !::testing::Test::HasFailure(); ++nth) {
        Staged staged(nth, kImage);
        SyncBench& bench = staged.bench;
        EXPECT_FALSE(bench.run(cut_off(staged)).succeeded());
        ASSERT_EQ(bench.target_shelf.record.stage, Stage::kStaging);
        RunPlan other = staged.plan(Kind::kExtents);
        other.target_fault = {(nth + 1) / 2, EIO, nth % 2 == 0};
        if (bench.run(other).succeeded()) break;
        bench.cut_power();
        const auto index = staged_index_of(bench.target_shelf);
        resumable += index && !index->empty();
        EXPECT_TRUE(bench.staged_is_durable()) << "nth " << nth;
        EXPECT_EQ(staged.half(), "") << "nth " << nth;
        RunPlan again = staged.plan(Kind::kExtents);
        again.resume = true;
        EXPECT_TRUE(bench.run(again).succeeded()) << "nth " << nth;
        EXPECT_EQ(bench.difference(true), "") << "nth " << nth;
    }
    EXPECT_GE(resumable, 2);
}

// What was staged rots before it is applied: nobody is given it, and the target says that it is
// whole no more.
void rot_and_go_on(std::uint64_t seed) {
    Staged staged(seed, kImage);
    SyncBench& bench = staged.bench;
    RunPlan dying = staged.plan(Kind::kExtents);
    dying.after_event = [&] {
        if (bench.target_shelf.record.stage == Stage::kCommitted) bench.kill(Side::kTarget);
    };
    EXPECT_FALSE(bench.run(dying).succeeded());
    ASSERT_EQ(bench.target_shelf.record.stage, Stage::kCommitted);
    // Of the block that came first, be it the 77 bytes of the end.
    std::vector<std::byte> byte = bench.staged.contents((1 << 20) + 10, 1);
    byte[0] ^= std::byte{4};
    bench.staged.fill((1 << 20) + 10, byte);
    RunPlan looking = staged.plan(Kind::kExtents);
    bool given_up = false;
    looking.after_event = [&] {
        const TargetRecord& record = bench.target_shelf.record;
        given_up |= record.stage == Stage::kNone && record.state == TargetState::kApplying;
    };
    // The source still holds what the run was to bring.
    EXPECT_TRUE(bench.run(looking).succeeded());
    EXPECT_TRUE(given_up) << "seed " << seed;
    EXPECT_EQ(bench.difference(true), "") << "seed " << seed;
}

TEST(Staged, ABlockThatRotsIsNotApplied) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed)
        rot_and_go_on(seed);
}

// What an earlier session staged is on the volume only when it is applied, and the volume may make
// something else of it.
void misread_what_came_earlier(std::uint64_t seed, const BenchShape& shape) {
    Staged staged(seed, shape);
    SyncBench& bench = staged.bench;
    EXPECT_FALSE(bench.run(cut_off(staged)).succeeded());
    const auto index = staged_index_of(bench.target_shelf);
    ASSERT_TRUE(index && !index->empty());
    std::uint64_t cursor = 0;
    const auto brought = index->read(cursor);
    ASSERT_TRUE(brought && *brought);
    const Extent bad = (*brought)->entries.front().extent;
    RunPlan verifying = staged.plan(Kind::kExtents);
    verifying.resume = verifying.verify = true;
    verifying.after_event = [&] {
        if (bench.target_shelf.record.stage == Stage::kCommitted)
            bench.target.fill(bad.offset_bytes, std::vector<std::byte>(7, std::byte{9}));
    };
    const RunResult found = bench.run(verifying);
    ASSERT_TRUE(found.source_error.has_value()) << "attested: " << found.report.reread;
    EXPECT_EQ(found.source_error->code, Code::kCorrupt);
    const std::string place = "byte " + std::to_string(bad.offset_bytes) + " of the volume";
    EXPECT_NE(found.source_error->context.find(place), std::string::npos)
        << found.source_error->context;
    // Not applied once more and sealed without a look.
    EXPECT_EQ(bench.target_shelf.record.stage, Stage::kNone);
    EXPECT_EQ(bench.target_shelf.record.state, TargetState::kApplying);
    EXPECT_TRUE(bench.run(staged.plan(Kind::kExtents)).succeeded());
    EXPECT_EQ(bench.difference(true), "");
}

TEST(Staged, WhatAnEarlierSessionBroughtIsReadBackFromTheVolume) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed)
        misread_what_came_earlier(seed, seed % 2 == 0 ? kImage : kDevice);
}

// A resumed run compares what is staged, and brings again what rotted: that stands above it.
TEST(Staged, ABlockThatRotsBeforeARunGoesOnComesAgain) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        Staged staged(seed, kImage);
        SyncBench& bench = staged.bench;
        EXPECT_FALSE(bench.run(cut_off(staged)).succeeded());
        std::vector<std::byte> byte = bench.staged.contents((1 << 20) + 10, 1);
        byte[0] ^= std::byte{4};
        bench.staged.fill((1 << 20) + 10, byte);
        RunPlan again = staged.plan(Kind::kExtents);
        again.resume = true;
        again.verify = seed % 2 == 0;
        const RunResult went_on = bench.run(again);
        EXPECT_TRUE(went_on.succeeded()) << "seed " << seed << ": " << went_on.source_error->text();
        EXPECT_TRUE(went_on.report.resumed);
        EXPECT_EQ(bench.difference(true), "") << "seed " << seed;
    }
}

// A record whose sync failed is read as the new one until the power is cut.
TEST(Staged, ARecordThatIsOnNoDiskIsNotAppliedUpon) {
    int unsynced = 0;
    for (std::uint64_t call = 2; call <= 31 && !::testing::Test::HasFailure(); ++call) {
        const std::uint64_t nth = call / 2;
        Staged staged(nth, call % 2 == 0 ? kImage : kDevice);
        SyncBench& bench = staged.bench;
        RunPlan failing = staged.plan(Kind::kExtents);
        failing.target_fault = {.nth = nth, .late = true, .unsynced = true};
        const bool succeeded = bench.run(failing).succeeded();
        const bool committed = bench.target_shelf.record.stage == Stage::kCommitted;
        if (!succeeded && committed) {
            unsynced += bench.target_shelf.on_disk.has_value();
            RunPlan dying = staged.plan(Kind::kExtents);
            const std::uint64_t writes = bench.target.started_count(DiskOperation::kWrite);
            dying.after_event = [&] {
                if (bench.target.started_count(DiskOperation::kWrite) > writes + 1)
                    bench.kill(Side::kTarget);
            };
            EXPECT_TRUE(bench.run(dying).target_killed);
        }
        bench.cut_power();
        EXPECT_EQ(staged.half(), "") << "nth " << nth;
        EXPECT_TRUE(bench.run(staged.plan(Kind::kExtents)).succeeded());
        EXPECT_EQ(bench.difference(true), "") << "nth " << nth;
    }
    EXPECT_GE(unsynced, 1);
}

// Sealed is read, and committed is on the disk: the journal must not go before that is mended.
TEST(Staged, ASealThatIsOnNoDiskOutlivesItsJournal) {
    int unsynced = 0;
    for (std::uint64_t call = 2; call <= 41 && !::testing::Test::HasFailure(); ++call) {
        const std::uint64_t nth = call / 2;
        Staged staged(nth, call % 2 == 0 ? kImage : kDevice);
        SyncBench& bench = staged.bench;
        RunPlan failing = staged.plan(Kind::kExtents);
        failing.target_fault = {.nth = nth, .late = true, .unsynced = true};
        if (bench.run(failing).succeeded()) continue;
        if (bench.target_shelf.record.state != TargetState::kSealed) continue;
        if (!bench.target_shelf.on_disk) continue;
        ++unsynced;
        RunPlan dying = staged.plan(Kind::kExtents);
        dying.target_hook = [&](StoreCall what, StoreMoment when) {
            if (what == StoreCall::kStage && when == StoreMoment::kAfter) bench.kill(Side::kTarget);
        };
        EXPECT_TRUE(bench.run(dying).target_killed);
        bench.cut_power();
        EXPECT_EQ(bench.target_shelf.record.state, TargetState::kSealed) << "told to be half";
        EXPECT_EQ(staged.half(), "") << "nth " << nth;
        EXPECT_TRUE(bench.run(staged.plan(Kind::kExtents)).succeeded());
        EXPECT_EQ(bench.difference(true), "") << "nth " << nth;
    }
    EXPECT_GE(unsynced, 1);
}

// A medium that gives back something else is found by the run that is to look; the next one does
// not take its word that all was applied.
TEST(Staged, WhatReadsBackOtherwiseIsNotSealedLater) {
    for (const BenchShape& shape : {kImage, kDevice}) {
        Staged staged(3, shape);
        SyncBench& bench = staged.bench;
        RunPlan looking = staged.plan(Kind::kExtents);
        looking.verify = true;
        std::uint64_t flushes = bench.target.started_count(DiskOperation::kFlush);
        looking.after_event = [&] {
            const std::uint64_t now = bench.target.started_count(DiskOperation::kFlush);
            if (now == flushes || bench.target.unsynced_count() > 0) return;
            flushes = now;
            const std::vector<std::byte> rot(512, std::byte{0x5a});
            bench.target.fill(81920, rot);
        };
        EXPECT_FALSE(bench.run(looking).succeeded());
        looking.extents = {};
        EXPECT_FALSE(bench.run(looking).succeeded());
        EXPECT_NE(bench.target_shelf.record.state, TargetState::kSealed);
        looking.after_event = {};
        EXPECT_TRUE(bench.run(looking).succeeded());
        EXPECT_EQ(bench.difference(true), "");
    }
}

// A run that was to be read back died when all of it was staged. Whoever applies it looks as well.
void misread_what_a_dead_run_staged(std::uint64_t seed, const BenchShape& shape) {
    Staged staged(seed, shape);
    SyncBench& bench = staged.bench;
    RunPlan dying = staged.plan(Kind::kExtents);
    dying.verify = true;
    dying.after_event = [&] {
        if (bench.target_shelf.record.stage == Stage::kCommitted) bench.kill(Side::kTarget);
    };
    EXPECT_FALSE(bench.run(dying).succeeded());
    const Uuid run = bench.target_shelf.record.run;
    // Data, a stretch of zeros, or the odd end.
    const Extent& at = staged.changed[seed % staged.changed.size()];
    const std::uint64_t bad = seed % 2 == 0 ? at.offset_bytes : at.end_bytes() - 7;
    RunPlan next = staged.plan(Kind::kExtents);
    next.extents = {};
    bool given_up = false;
    next.after_event = [&] {
        const TargetRecord& record = bench.target_shelf.record;
        if (record.stage == Stage::kCommitted && record.run == run)
            bench.target.fill(bad, std::vector<std::byte>(7, std::byte{9}));
        given_up |= record.stage == Stage::kNone && record.state == TargetState::kApplying;
    };
    EXPECT_TRUE(bench.run(next).succeeded()) << "seed " << seed;
    EXPECT_TRUE(given_up) << "seed " << seed;
    EXPECT_EQ(bench.difference(true), "") << "seed " << seed;
}

TEST(Staged, WhatADeadRunStagedIsReadBackAsThatWasAskedTo) {
    for (std::uint64_t seed = 1; seed <= 24; ++seed)
        misread_what_a_dead_run_staged(seed, seed % 3 == 0 ? kImage : kDevice);
}

// What reads back right is sealed by whoever applies it, and not brought once more.
TEST(Staged, WhatADeadRunStagedIsSealedWhenItReadsBackRight) {
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        Staged staged(seed, seed % 2 == 0 ? kImage : kDevice);
        SyncBench& bench = staged.bench;
        RunPlan dying = staged.plan(Kind::kExtents);
        dying.verify = true;
        dying.after_event = [&] {
            if (bench.target_shelf.record.stage == Stage::kCommitted) bench.kill(Side::kTarget);
        };
        EXPECT_FALSE(bench.run(dying).succeeded());
        bench.cut_power();
        RunPlan next = staged.plan(Kind::kExtents);
        next.extents = {};
        const RunResult result = bench.run(next);
        EXPECT_TRUE(result.succeeded()) << "seed " << seed;
        EXPECT_EQ(result.stored_bytes, 0U) << "seed " << seed;
        EXPECT_EQ(bench.difference(true), "") << "seed " << seed;
    }
}

TEST(Staged, ALostJournalIsScanned) {
    Staged staged(4, kImage);
    SyncBench& bench = staged.bench;
    RunPlan dying = staged.plan(Kind::kExtents);
    dying.after_event = [&] {
        if (bench.target_shelf.record.stage == Stage::kCommitted) bench.kill(Side::kTarget);
    };
    EXPECT_FALSE(bench.run(dying).succeeded());
    bench.target_shelf.staged_index.resize(bench.target_shelf.staged_index.size() - 1);
    bench.source_shelf = {};
    const RunResult next = bench.run(staged.plan(Kind::kScan));
    EXPECT_TRUE(next.succeeded());
    EXPECT_EQ(bench.difference(true), "");
}

// It has been said to be whole: nobody needs the source to make it so.
TEST(Staged, ASourceThatGoesAwayDoesNotKeepItFromBeingApplied) {
    int alone = 0;
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        Staged staged(seed, kDevice);
        SyncBench& bench = staged.bench;
        RunPlan plan = staged.plan(Kind::kExtents);
        plan.after_event = [&] {
            if (bench.target_shelf.record.stage == Stage::kCommitted)
                bench.kill(Side::kSource, seed % 2 == 0 ? KillStyle::kClose : KillStyle::kSilent);
        };
        const RunResult result = bench.run(plan);
        alone += result.source_killed;
        EXPECT_TRUE(result.sealed);
        EXPECT_EQ(bench.target_shelf.record.state, TargetState::kSealed);
        EXPECT_EQ(bench.difference(true), "") << "seed " << seed;
    }
    EXPECT_GE(alone, 10);
}

TEST(Staged, DirectAndFirstCopiesAreNotStaged) {
    Staged staged(5, kImage);
    SyncBench& bench = staged.bench;
    RunPlan direct = staged.plan(Kind::kExtents);
    direct.direct = true;
    bool seen_applying = false;
    direct.after_event = [&] {
        const TargetRecord& record = bench.target_shelf.record;
        EXPECT_EQ(record.stage, Stage::kNone);
        seen_applying |= record.state == TargetState::kApplying;
    };
    const RunResult result = bench.run(direct);
    EXPECT_TRUE(result.succeeded());
    EXPECT_FALSE(result.report.staged);
    EXPECT_TRUE(seen_applying);
    staged.change();
    EXPECT_TRUE(bench.run(staged.plan(Kind::kExtents)).report.staged);
    EXPECT_EQ(bench.difference(true), "");
}

}  // namespace
}  // namespace towline
