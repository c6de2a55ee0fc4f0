// SPDX-License-Identifier: Apache-2.0
// A simulated connection delivers exactly what its plan lets through, byte by byte: a harness that
// breaks a link at byte k must be able to trust that k is where it broke.

#include <bit>
#include <cerrno>

#include "tests/unit/simulated_fixture.hpp"

namespace towline {
namespace {

// First to second has a buffer of this size, the way back the usual one.
ConnectionPlan plan_with(std::size_t buffer_bytes) {
    ConnectionPlan plan;
    plan.first_to_second.buffer_bytes = buffer_bytes;
    return plan;
}

TEST(SimulatedConnection, BothDirectionsArriveWholeAndInOrder) {
    for (std::uint64_t seed = 0; seed < 8; ++seed) {
        ConnectionPlan plan = plan_with(3000);
        plan.second_to_first.buffer_bytes = 100;
        LinkBench bench(seed, plan);
        Sender there(bench.source, bench.source_socket, numbered_bytes(100000));
        Sender back(bench.target, bench.target_socket, numbered_bytes(20000));
        Receiver at_target(bench.target, bench.target_socket);
        Receiver at_source(bench.source, bench.source_socket);
        EXPECT_EQ(bench.run_to_idle(), RunEnd::kIdle);
        EXPECT_EQ(at_target.bytes(), numbered_bytes(100000));
        EXPECT_EQ(at_source.bytes(), numbered_bytes(20000));
        EXPECT_FALSE(at_target.done());
        bench.end();
    }
}

// 10 messages of 5040 bytes through a buffer of 1000, and a rest.
TEST(SimulatedConnection, ReceiveOfAllWaitsForAllUnlessItEnds) {
    ConnectionPlan plan = plan_with(1000);
    plan.first_to_second.partial_rate = 0;
    LinkBench bench(1, plan);
    Sender sender(bench.source, bench.source_socket, numbered_bytes(50500));
    Receiver receiver(bench.target, bench.target_socket, ReceiveMode::kAll);
    EXPECT_EQ(bench.run_to_idle(), RunEnd::kIdle);
    EXPECT_EQ(receiver.bytes(), numbered_bytes(50400));
    EXPECT_EQ(receiver.short_count, 0);
    bench.source.shut_down(bench.source_socket);
    EXPECT_EQ(bench.run_to_idle(), RunEnd::kIdle);
    EXPECT_EQ(receiver.bytes(), numbered_bytes(50500));
    EXPECT_EQ(receiver.short_count, 1);
    EXPECT_EQ(receiver.end, 0);
}

TEST(SimulatedConnection, ReceiveOfAllIsInterruptedNowAndThen) {
    LinkBench bench(1, plan_with(4096));
    Sender sender(bench.source, bench.source_socket, numbered_bytes(504000));
    Receiver receiver(bench.target, bench.target_socket, ReceiveMode::kAll);
    EXPECT_EQ(bench.run_to_idle(), RunEnd::kIdle);
    EXPECT_GT(receiver.short_count, 0);
    EXPECT_LT(receiver.short_count, 150);
    EXPECT_GT(receiver.bytes().size(), 504000u - 5040u);
    EXPECT_EQ(receiver.bytes(), numbered_bytes(receiver.bytes().size()));
    bench.end();
}

TEST(SimulatedConnection, SenderWaitsWhenTheBufferIsFull) {
    LinkBench bench(1, plan_with(4096));
    Sender sender(bench.source, bench.source_socket, numbered_bytes(10000));
    EXPECT_EQ(bench.run_to_idle(), RunEnd::kIdle);
    EXPECT_EQ(sender.sent_bytes(), 4096u);
    Receiver receiver(bench.target, bench.target_socket);
    EXPECT_EQ(bench.run_to_idle(), RunEnd::kIdle);
    EXPECT_EQ(sender.sent_bytes(), 10000u);
    EXPECT_EQ(receiver.bytes(), numbered_bytes(10000));
    bench.end();
}

TEST(SimulatedConnection, CloseAtDeliversExactlySoManyBytesThenTheEnd) {
    for (const std::uint64_t at : {0, 1, 4095, 4096, 9999}) {
        ConnectionPlan plan = plan_with(4096);
        plan.first_to_second.close_at = at;
        LinkBench bench(1, plan);
        Sender sender(bench.source, bench.source_socket, numbered_bytes(100000));
        Receiver receiver(bench.target, bench.target_socket);
        Receiver other_direction(bench.source, bench.source_socket);
        EXPECT_EQ(bench.run_to_idle(), RunEnd::kIdle);
        EXPECT_EQ(receiver.bytes(), numbered_bytes(at));
        EXPECT_EQ(receiver.end, 0);
        EXPECT_EQ(sender.error, -EPIPE);
        EXPECT_EQ(other_direction.end, 0);
    }
}

TEST(SimulatedConnection, CloseAtOfTheWayBackEndsBoth) {
    ConnectionPlan plan;
    plan.second_to_first.close_at = 10;
    LinkBench bench(1, plan);
    Receiver at_source(bench.source, bench.source_socket);
    Receiver at_target(bench.target, bench.target_socket);
    Sender back(bench.target, bench.target_socket, numbered_bytes(100));
    EXPECT_EQ(bench.run_to_idle(), RunEnd::kIdle);
    EXPECT_EQ(at_source.bytes(), numbered_bytes(10));
    EXPECT_EQ(at_source.end, 0);
    EXPECT_EQ(at_target.end, 0);
}

TEST(SimulatedConnection, LinkCanBreakBeforeAnyByte) {
    ConnectionPlan plan;
    plan.first_to_second.close_at = 0;
    LinkBench bench(1, plan);
    Receiver at_source(bench.source, bench.source_socket);
    Receiver at_target(bench.target, bench.target_socket);
    EXPECT_EQ(bench.run_to_idle(), RunEnd::kIdle);
    EXPECT_EQ(at_source.end, 0);
    EXPECT_EQ(at_target.end, 0);
    bench.end();
}

TEST(SimulatedConnection, ResetAtFailsBothEndsAndLetsNothingMoreThrough) {
    for (std::uint64_t seed = 0; seed < kSeedCount; ++seed) {
        ConnectionPlan plan = plan_with(4096);
        plan.first_to_second.reset_at = 5000;
        LinkBench bench(seed, plan);
        Sender sender(bench.source, bench.source_socket, numbered_bytes(100000));
        Receiver receiver(bench.target, bench.target_socket);
        Receiver other_direction(bench.source, bench.source_socket);
        EXPECT_EQ(bench.run_to_idle(), RunEnd::kIdle);
        EXPECT_LE(receiver.bytes().size(), 5000u);
        EXPECT_EQ(receiver.bytes(), numbered_bytes(receiver.bytes().size()));
        EXPECT_EQ(receiver.end, -ECONNRESET);
        EXPECT_EQ(sender.error, -ECONNRESET);
        EXPECT_EQ(other_direction.end, -ECONNRESET);
    }
}

TEST(SimulatedConnection, StallDeliversSoManyBytesAndThenNothingForEver) {
    ConnectionPlan plan = plan_with(4096);
    plan.first_to_second.stall_at = 5000;
    LinkBench bench(1, plan);
    Sender sender(bench.source, bench.source_socket, numbered_bytes(100000));
    Receiver receiver(bench.target, bench.target_socket);
    EXPECT_EQ(bench.run_to_idle(), RunEnd::kIdle);
    EXPECT_EQ(receiver.bytes(), numbered_bytes(5000));
    EXPECT_FALSE(receiver.done());
    EXPECT_FALSE(sender.done());
    EXPECT_EQ(sender.sent_bytes(), 5000u + 4096u);
    // Not even the end gets through; what waits at the side that closes completes all the same.
    bench.source.shut_down(bench.source_socket);
    EXPECT_EQ(bench.run_to_idle(), RunEnd::kIdle);
    EXPECT_EQ(sender.error, -EPIPE);
    EXPECT_FALSE(receiver.done());
    bench.target.shut_down(bench.target_socket);
    EXPECT_EQ(bench.run_to_idle(), RunEnd::kIdle);
    EXPECT_EQ(receiver.end, 0);
}

TEST(SimulatedConnection, CorruptionFlipsOneBitOfTheChosenBytes) {
    ConnectionPlan plan = plan_with(4096);
    plan.first_to_second.corrupt_at = {0, 5000, 9999};
    LinkBench bench(1, plan);
    Sender sender(bench.source, bench.source_socket, numbered_bytes(10000));
    Receiver receiver(bench.target, bench.target_socket);
    EXPECT_EQ(bench.run_to_idle(), RunEnd::kIdle);
    const std::vector<std::byte> sent = numbered_bytes(10000);
    EXPECT_EQ(receiver.bytes().size(), sent.size());
    for (std::size_t i = 0; i < receiver.bytes().size(); ++i) {
        const auto difference = std::to_integer<unsigned>(sent[i] ^ receiver.bytes()[i]);
        const bool chosen = i == 0 || i == 5000 || i == 9999;
        EXPECT_EQ(std::popcount(difference), chosen ? 1 : 0) << i;
    }
    bench.end();
}

TEST(SimulatedConnection, CorruptionRateHitsAboutThatOften) {
    ConnectionPlan plan;
    plan.first_to_second.corruption_rate = 0.001;
    LinkBench bench(1, plan);
    Sender sender(bench.source, bench.source_socket, numbered_bytes(1000000));
    Receiver receiver(bench.target, bench.target_socket);
    EXPECT_EQ(bench.run_to_idle(), RunEnd::kIdle);
    const std::vector<std::byte> sent = numbered_bytes(1000000);
    EXPECT_EQ(receiver.bytes().size(), sent.size());
    int hit_count = 0;
    for (std::size_t i = 0; i < receiver.bytes().size(); ++i)
        hit_count += sent[i] != receiver.bytes()[i];
    EXPECT_GT(hit_count, 800);
    EXPECT_LT(hit_count, 1200);
    bench.end();
}

TEST(SimulatedConnection, ShutDownEndsWhatWaitsAndThePeerBehindItsData) {
    for (std::uint64_t seed = 0; seed < kSeedCount; ++seed) {
        LinkBench bench(seed);
        Receiver at_source(bench.source, bench.source_socket);
        Sender sender(bench.source, bench.source_socket, numbered_bytes(10000));
        Receiver at_target(bench.target, bench.target_socket);
        bench.world.run([&] { return sender.done(); }, kLongEnough);
        bench.source.shut_down(bench.source_socket);
        bench.source.shut_down(bench.source_socket);
        EXPECT_FALSE(at_source.done());  // never from inside the call
        EXPECT_EQ(bench.run_to_idle(), RunEnd::kIdle);
        EXPECT_EQ(at_source.end, 0);
        EXPECT_EQ(at_target.bytes(), numbered_bytes(10000)) << "seed " << seed;
        EXPECT_EQ(at_target.end, 0);
        Sender late(bench.target, bench.target_socket, numbered_bytes(10));
        EXPECT_EQ(bench.run_to_idle(), RunEnd::kIdle);
        EXPECT_EQ(late.error, -EPIPE);
    }
}

TEST(SimulatedConnection, NewsOfAClosedReceiverNeedTheWayBack) {
    ConnectionPlan plan = plan_with(4096);
    plan.second_to_first.stall_at = 0;
    LinkBench bench(1, plan);
    bench.target.shut_down(bench.target_socket);
    Sender sender(bench.source, bench.source_socket, numbered_bytes(100000));
    EXPECT_EQ(bench.run_to_idle(), RunEnd::kIdle);
    EXPECT_FALSE(sender.done());
    EXPECT_EQ(sender.sent_bytes(), 4096u);
    bench.end();
}

TEST(SimulatedConnection, SeveralConnectionsKeepTheirBytesApart) {
    LinkBench bench(1);
    SimulatedConnection& second = bench.world.add_connection({});
    const Handle near = bench.source.attach_socket(second, ConnectionSide::kFirst);
    const Handle far = bench.target.attach_socket(second, ConnectionSide::kSecond);
    Sender one(bench.source, bench.source_socket, numbered_bytes(5000));
    Sender two(bench.source, near, numbered_bytes(7000));
    Receiver first_receiver(bench.target, bench.target_socket);
    Receiver second_receiver(bench.target, far);
    EXPECT_EQ(bench.run_to_idle(), RunEnd::kIdle);
    EXPECT_EQ(first_receiver.bytes(), numbered_bytes(5000));
    EXPECT_EQ(second_receiver.bytes(), numbered_bytes(7000));
    bench.end();
}

}  // namespace
}  // namespace towline
