// SPDX-License-Identifier: Apache-2.0
// `--compress auto` on simulated links, cores and data. It is held against what the best fixed
// level does in the same simulation: a user loses when auto is slower, or sends more, than what
// they could have chosen by hand.

#include "transport/level_control.hpp"

#include <string>

#include <gtest/gtest.h>

#include "tests/unit/level_simulation.hpp"

namespace towline {
namespace {

constexpr double kUnlimited = 20e9;

double megabits(double count) {
    return count * 1e6 / 8;
}

// Raw bytes that keep a link busy for that long when they shrink by half.
double work_of(double link, double seconds) {
    return link * seconds * 2;
}

void expect_within(const LevelOutcome& outcome, const LevelOutcome& best, double time,
                   double bytes) {
    EXPECT_LE(outcome.seconds, best.seconds * time) << outcome.text() << "\nbest: " << best.text();
    EXPECT_LE(outcome.wire_bytes, best.wire_bytes * bytes)
        << outcome.text() << "\nbest: " << best.text();
}

TEST(LevelControl, StaysRawOnALinkWithoutALimit) {
    for (const unsigned workers : {1u, 2u, 4u}) {
        for (const double source : {0.6e9, 1.9e9, 5e9}) {
            for (const bool here : {true, false}) {
                const LevelSimulation simulation(
                    {.workers = workers, .target_here = here, .source = source}, kUnlimited,
                    Data::kOrdinary);
                const LevelOutcome outcome = simulation.automatic(4e9);
                EXPECT_LE(outcome.seconds, simulation.fixed(0, 4e9).seconds * 1.1)
                    << outcome.text();
            }
        }
    }
}

TEST(LevelControl, IsAsDenseAsTheCoresCanFeedASlowLink) {
    for (const unsigned workers : {1u, 2u, 4u}) {
        for (const double link : {megabits(20), megabits(80), megabits(200)}) {
            SCOPED_TRACE(std::to_string(workers) + " workers, B/s " + std::to_string(link));
            const Machine machine{.cores = double(workers), .workers = workers};
            const LevelSimulation simulation(machine, link, Data::kOrdinary);
            const double work = work_of(link, 90);
            expect_within(simulation.automatic(work), simulation.best_fixed(work), 1.05, 1.05);
        }
    }
}

TEST(LevelControl, FindsTheLevelOfFasterLinks) {
    for (const unsigned workers : {1u, 2u, 8u}) {
        for (const double link : {megabits(500), megabits(1000), megabits(2500), megabits(5000)}) {
            SCOPED_TRACE(std::to_string(workers) + " workers, B/s " + std::to_string(link));
            const Machine machine{.cores = double(workers), .workers = workers};
            const LevelSimulation simulation(machine, link, Data::kOrdinary);
            const double work = work_of(link, 30);
            expect_within(simulation.automatic(work), simulation.best_fixed(work), 1.08, 1.10);
        }
    }
}

TEST(LevelControl, FindsTheLevelOfMachinesThatAreSlowOrFast) {
    for (const double slowness : {0.5, 3.0, 6.0}) {
        for (const double link : {megabits(80), megabits(1000)}) {
            SCOPED_TRACE("slowness " + std::to_string(slowness) + ", B/s " + std::to_string(link));
            const LevelSimulation simulation({.slowness = slowness}, link, Data::kOrdinary);
            const double work = work_of(link, 60);
            expect_within(simulation.automatic(work), simulation.best_fixed(work), 1.08, 1.08);
        }
    }
}

TEST(LevelControl, SendsWhatDoesNotShrinkAsItIs) {
    for (const double link : {megabits(80), megabits(1000), megabits(5000), kUnlimited}) {
        const LevelSimulation simulation({}, link, Data::kRandom);
        const double work = work_of(std::min(link, 1e9), 30);
        const LevelOutcome outcome = simulation.automatic(work);
        EXPECT_LE(outcome.seconds, simulation.fixed(0, work).seconds * 1.03) << outcome.text();
        int all = 0;
        for (const int windows : outcome.windows)
            all += windows;
        EXPECT_GE(outcome.windows[0], all * 9 / 10) << outcome.text();
    }
}

TEST(LevelControl, NoticesThatTheDataShrinksAgain) {
    const double link = megabits(200);
    const double work = work_of(link, 120);
    const LevelSimulation simulation(
        {}, [link](double) { return link; },
        [work](double sent) { return sent < work / 4 ? Data::kRandom : Data::kOrdinary; });
    expect_within(simulation.automatic(work), simulation.best_fixed(work), 1.08, 1.08);
}

TEST(LevelControl, TakesDataThatShrinksWellAsItComes) {
    for (const double link : {megabits(80), megabits(500)}) {
        const LevelSimulation simulation({}, link, Data::kLogs);
        const double work = work_of(link, 200);
        expect_within(simulation.automatic(work), simulation.best_fixed(work), 1.10, 1.15);
    }
}

// Of two halves, each with its best level by itself.
void expect_follows(double first, double second, double time, double bytes) {
    SCOPED_TRACE("from " + std::to_string(first) + " to " + std::to_string(second) + " B/s");
    const double half = work_of(std::min(first, second), 60);
    const LevelSimulation changing(
        {}, [=](double sent) { return sent < half ? first : second; },
        [](double) { return Data::kOrdinary; });
    LevelOutcome best = LevelSimulation({}, first, Data::kOrdinary).best_fixed(half);
    const LevelOutcome then = LevelSimulation({}, second, Data::kOrdinary).best_fixed(half);
    best.seconds += then.seconds;
    best.wire_bytes += then.wire_bytes;
    expect_within(changing.automatic(half * 2), best, time, bytes);
}

TEST(LevelControl, FollowsALinkThatChanges) {
    expect_follows(megabits(1000), megabits(80), 1.08, 1.08);
    expect_follows(megabits(80), megabits(40), 1.05, 1.05);
    expect_follows(megabits(80), megabits(1000), 1.08, 1.10);
    expect_follows(kUnlimited, megabits(80), 1.05, 1.05);
}

// To send less while the cores are idle is no loss; to wait for them when the link is free is one.
TEST(LevelControl, NoticesThatTheLinkHasBecomeFree) {
    const double slow = megabits(80);
    const double part = work_of(slow, 20);
    const LevelSimulation simulation(
        {}, [=](double sent) { return sent < part ? slow : kUnlimited; },
        [](double) { return Data::kOrdinary; });
    const LevelOutcome outcome = simulation.automatic(part + 20e9);
    const double best = LevelSimulation({}, slow, Data::kOrdinary).best_fixed(part).seconds +
                        LevelSimulation({}, kUnlimited, Data::kOrdinary).fixed(0, 20e9).seconds;
    EXPECT_LE(outcome.seconds, best + 5) << outcome.text() << "\nbest " << best;
}

TEST(LevelControl, DoesNotFlap) {
    for (const double noise : {0.0, 0.1, 0.25}) {
        for (const double link : {megabits(80), megabits(300), megabits(1000), megabits(2500)}) {
            SCOPED_TRACE("noise " + std::to_string(noise) + ", B/s " + std::to_string(link));
            const LevelSimulation simulation({.noise = noise}, link, Data::kOrdinary);
            const double work = work_of(link, 60);
            const LevelOutcome outcome = simulation.automatic(work);
            int all = 0;
            for (const int windows : outcome.windows)
                all += windows;
            EXPECT_LE(outcome.changes, 5 + all / 20) << outcome.text();
            const LevelOutcome best = simulation.best_fixed(work);
            expect_within(outcome, best, 1.10, 1.10);
        }
    }
}

// A target that writes slowly holds the sends back as a slow link does, but compressing does not
// make it write faster.
TEST(LevelControl, DoesNotCompressForASlowTarget) {
    const LevelSimulation simulation({.target_disk = 100e6}, kUnlimited, Data::kOrdinary);
    const LevelOutcome outcome = simulation.automatic(10e9);
    EXPECT_LE(outcome.seconds, simulation.fixed(0, 10e9).seconds * 1.03) << outcome.text();
    EXPECT_GE(outcome.windows[0], 850) << outcome.text();
}

TEST(LevelControl, ASlowTargetDoesNotSpoilItForASlowLink) {
    const double slow = megabits(80);
    const double part = 6e9;
    const LevelSimulation simulation(
        {.target_disk = 100e6}, [=](double sent) { return sent < part ? kUnlimited : slow; },
        [](double) { return Data::kOrdinary; });
    const LevelOutcome outcome = simulation.automatic(part + 1e9);
    const double then = LevelSimulation({}, slow, Data::kOrdinary).best_fixed(1e9).seconds;
    EXPECT_LE(outcome.seconds, part / 100e6 + then * 1.1) << outcome.text();
}

// Both ends on two cores: what holds the sends back is the receiver, and the workers would take its
// cores.
TEST(LevelControl, StaysRawOnALoopbackThatHoldsSendsBack) {
    for (const double received : {0.6e9, 0.8e9, 1.0e9, 1.5e9}) {
        SCOPED_TRACE("B/s received " + std::to_string(received));
        const LevelSimulation simulation({.target_here = true, .target_disk = received}, kUnlimited,
                                         Data::kOrdinary);
        const LevelOutcome outcome = simulation.automatic(4e9);
        EXPECT_LE(outcome.seconds, simulation.fixed(0, 4e9).seconds * 1.1) << outcome.text();
        EXPECT_LE(outcome.changes, 8) << outcome.text();
        // An incremental run is over before a mistake could be made good.
        EXPECT_EQ(simulation.automatic(received * 0.8).changes, 0);
    }
}

TEST(LevelControl, LeavesASlowSourceAlone) {
    const LevelSimulation simulation({.source = 50e6}, megabits(1000), Data::kOrdinary);
    const LevelOutcome outcome = simulation.automatic(2e9);
    EXPECT_EQ(outcome.changes, 0) << outcome.text();
    EXPECT_EQ(outcome.last_level, 0);
}

TEST(LevelControl, KeepsCompressingWhenThatMakesTheSourceTheLimit) {
    const LevelSimulation simulation({.source = 60e6}, megabits(320), Data::kOrdinary);
    const LevelOutcome outcome = simulation.automatic(4e9);
    const LevelOutcome best = simulation.best_fixed(4e9);
    EXPECT_LE(outcome.seconds, best.seconds * 1.03) << outcome.text();
    EXPECT_LE(outcome.changes, 10) << outcome.text();
}

TEST(LevelControl, DrivesDeflateToo) {
    for (const double link : {megabits(80), megabits(1000)}) {
        const LevelSimulation simulation({}, link, Data::kOrdinary);
        const double work = work_of(link, 60);
        const LevelOutcome outcome = simulation.automatic(work, CodecChoice::kDeflate);
        EXPECT_LT(outcome.wire_bytes, work / 1.9) << outcome.text();
    }
}

TEST(LevelControl, StartsDenseOnALinkThatIsKnown) {
    LevelControl control(CodecChoice::kAuto, 2);
    EXPECT_EQ(control.level(), 0);
    control.expect_link(0);
    EXPECT_EQ(control.level(), 0);
    control.expect_link(10'000'000);
    EXPECT_GE(control.level(), 8);
    control.expect_link(3'000'000'000);
    EXPECT_EQ(control.level(), 0);
}

// Windows as they may come from a pipeline that stalls, ends or measures nonsense.
TEST(LevelControl, AnswersWhateverAWindowSays) {
    std::mt19937_64 random(3);
    LevelControl control(CodecChoice::kAuto, 0);
    for (int n = 0; n < 100'000; ++n) {
        const auto any = [&random] { return random() % 4 == 0 ? 0 : random() >> random() % 64; };
        const int level = static_cast<int>(random() % (kLevelMax + 1));
        const int next = control.step({.length = Duration(any() >> 1),
                                       .raw_bytes = any(),
                                       .wire_bytes = any(),
                                       .link_busy = Duration(any() >> 1),
                                       .compressed_in = any(),
                                       .compressed_out = any(),
                                       .codec_cpu = Duration(any() >> 1),
                                       .level = level});
        ASSERT_GE(next, kLevelNone);
        ASSERT_LE(next, kLevelMax);
    }
}

}  // namespace
}  // namespace towline
