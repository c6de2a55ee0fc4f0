// SPDX-License-Identifier: Apache-2.0
// Waits, posts from other threads, and the order in which the loop calls back.

#include <array>
#include <thread>

#include "engine_fixture.hpp"

namespace towline {
namespace {

class EngineEventTest : public EngineTest {};

TEST_P(EngineEventTest, WaitsEndInTheOrderOfTheirTimes) {
    std::vector<int> order;
    const Instant start = engine_->now();
    Completion third([&](std::int64_t) { order.push_back(3); });
    Completion first([&](std::int64_t) { order.push_back(1); });
    Completion second([&](std::int64_t) { order.push_back(2); });
    engine_->wait_until(start + 30ms, third);
    engine_->wait_until(start + 10ms, first);
    engine_->wait_until(start + 10ms, second);
    drain();
    EXPECT_EQ(order, (std::vector{1, 2, 3}));
    EXPECT_GE(engine_->now() - start, 30ms);
}

TEST_P(EngineEventTest, AWaitInThePastEndsAtOnce) {
    Outcome past;
    engine_->wait_until(engine_->now() - 1s, past.done);
    EXPECT_EQ(result_of(past), 0);
}

TEST_P(EngineEventTest, CancelledWaitsSaySo) {
    Outcome cancelled, other;
    const Instant start = engine_->now();
    engine_->wait_until(start + 3600s, cancelled.done);
    engine_->wait_until(start + 5ms, other.done);
    engine_->cancel_wait(cancelled.done);
    EXPECT_EQ(cancelled.count, 0);  // never from within the call
    EXPECT_EQ(result_of(cancelled), -ECANCELED);
    EXPECT_EQ(result_of(other), 0);
    engine_->cancel_wait(other.done);  // too late: nothing
    EXPECT_EQ(engine_->in_flight(), 0U);
    EXPECT_LT(engine_->now() - start, 60s);
}

TEST_P(EngineEventTest, ACallbackStartsTheNextWait) {
    int rounds = 0;
    Completion again;
    again.on_done([&](std::int64_t) {
        if (++rounds < 5) engine_->wait_until(engine_->now() + 1ms, again);
    });
    engine_->wait_until(engine_->now(), again);
    drain();
    EXPECT_EQ(rounds, 5);
}

TEST_P(EngineEventTest, PostsFromFourThreadsAllArrive) {
    constexpr std::size_t kThreads = 4;
    constexpr std::size_t kPosts = 10000;
    std::vector<Outcome> outcomes(kThreads * kPosts);
    for (Outcome& outcome : outcomes)
        engine_->begin_external(outcome.done);
    {
        std::vector<std::jthread> threads;
        threads.reserve(kThreads);
        for (std::size_t t = 0; t < kThreads; ++t)
            threads.emplace_back([&, t] {
                for (std::size_t i = 0; i < kPosts; ++i)
                    engine_->post(outcomes[t * kPosts + i].done);
            });
        drain();
    }
    for (const Outcome& outcome : outcomes)
        ASSERT_EQ(outcome.count, 1);
}

// One at a time, so that every post finds the loop asleep.
TEST_P(EngineEventTest, APostWakesASleepingLoop) {
    for (int i = 0; i < 50; ++i) {
        Outcome posted;
        engine_->begin_external(posted.done);
        std::jthread poster([&] {
            std::this_thread::sleep_for(1ms);
            engine_->post(posted.done);
        });
        EXPECT_EQ(result_of(posted), 0);
    }
}

TEST_P(EngineEventTest, APostReachesALoopThatIsBusyWithTheDisk) {
    const Fd fd = open_file("busy", O_RDWR | O_CREAT);
    CHECK(::ftruncate(fd.get(), 4096) == 0);
    const Handle file = attach(fd);
    std::array<std::byte, 4096> into{};
    bool stop = false;
    Completion reading;
    reading.on_done([&](std::int64_t) {
        if (!stop) engine_->read(file, into, 0, reading);
    });
    engine_->read(file, into, 0, reading);
    for (int i = 0; i < 200; ++i) {
        Outcome posted;
        engine_->begin_external(posted.done);
        std::jthread poster([&] { engine_->post(posted.done); });
        EXPECT_EQ(result_of(posted), 0);
    }
    stop = true;
    drain();
}

// The engine is made here and run elsewhere, as the daemon does.
TEST_P(EngineEventTest, TheLoopThreadNeedNotBeTheMaker) {
    const Fd fd = open_file("elsewhere", O_RDWR | O_CREAT);
    const Handle file = attach(fd);
    std::array<std::byte, 100> bytes{};
    Outcome written;
    std::jthread loop([&] {
        for (int i = 0; i < 1000; ++i) {
            written.count = 0;
            engine_->write(file, bytes, 0, written.done);
            EXPECT_EQ(result_of(written), 100);
        }
    });
}

// Callbacks run from the loop only: starting an operation never calls back, however ready it is.
TEST_P(EngineEventTest, StartingNeverCallsBack) {
    const Fd fd = open_file("never", O_RDWR | O_CREAT);
    const Handle file = attach(fd);
    std::array<std::byte, 16> bytes{};
    bool starting = false;
    int left = 2000;
    std::vector<Completion> slots(8);
    const auto start = [&](Completion& slot) {
        starting = true;
        engine_->write(file, bytes, 0, slot);
        starting = false;
    };
    for (Completion& slot : slots) {
        slot.on_done([&](std::int64_t) {
            EXPECT_FALSE(starting);
            if (--left > 0) start(slot);
        });
        start(slot);
    }
    drain();
}

TOWLINE_OVER_ENGINES(EngineEventTest);

}  // namespace
}  // namespace towline
