// SPDX-License-Identifier: Apache-2.0
// What a probe of the link says, and what a peer that answers with anything else gets from it.

#include "userspace/engine/link_probe.hpp"

#include <sys/socket.h>
#include <thread>

#include <gtest/gtest.h>

#include "io/checksum.hpp"
#include "transport/frame.hpp"
#include "transport/messages.hpp"
#include "transport/socket.hpp"

namespace towline {
namespace {

using std::chrono::milliseconds;

constexpr std::uint64_t kMib = std::uint64_t{1} << 20;

TEST(LinkTally, TheShortestRoundTellsTheClock) {
    LinkTally tally;
    EXPECT_FALSE(tally.facts());
    tally.add_round(milliseconds(0), milliseconds(40), milliseconds(5025), milliseconds(1000));
    tally.add_round(milliseconds(50), milliseconds(60), milliseconds(5055), milliseconds(1050));
    tally.add_round(milliseconds(60), milliseconds(90), milliseconds(9999), milliseconds(1060));
    const auto facts = tally.facts();
    ASSERT_TRUE(facts);
    EXPECT_EQ(facts->round_trip, milliseconds(10));
    EXPECT_EQ(facts->clock_ahead, milliseconds(4000));
    EXPECT_FALSE(facts->bytes_per_second) << "nothing was measured";
}

TEST(LinkTally, ALinkThatGetsUpToItsSpeedIsToldByItsSecondHalf) {
    LinkTally tally;
    tally.add_round({}, milliseconds(1), {}, {});
    for (int i = 1; i <= 10; ++i)
        tally.add_confirmed(milliseconds(100 * i), static_cast<std::uint64_t>(i) * 1000);
    for (int i = 1; i <= 10; ++i)
        tally.add_confirmed(milliseconds(1000 + 100 * i),
                            10'000 + static_cast<std::uint64_t>(i) * 5000);
    EXPECT_NEAR(*tally.facts()->bytes_per_second, 50'000, 1);
    EXPECT_EQ(tally.facts()->bytes, 60'000U);
    // All at once, or only once: that is no speed.
    LinkTally once;
    once.add_round({}, milliseconds(1), {}, {});
    once.add_confirmed(milliseconds(5), 7);
    EXPECT_FALSE(once.facts()->bytes_per_second);
    once.add_confirmed(milliseconds(5), 9);
    EXPECT_FALSE(once.facts()->bytes_per_second);
}

// A target as somebody else would write it: blocking, a frame after the other.
class Peer {
  public:
    explicit Peer(Fd socket) : socket_(std::move(socket)) {}

    void say(const Message& message) {
        const std::vector<std::byte> head = encode_message(message);
        std::vector<std::byte> frame(wire::kHeaderBytes);
        FrameHeader{.type = type_of(message),
                    .sequence = sequence_++,
                    .head_bytes = static_cast<std::uint32_t>(head.size()),
                    .head_crc = head.empty() ? 0 : crc32c(head)}
            .encode(frame);
        frame.insert(frame.end(), head.begin(), head.end());
        static_cast<void>(::send(socket_.get(), frame.data(), frame.size(), MSG_NOSIGNAL));
    }
    std::optional<Message> hear() {
        std::vector<std::byte> raw(wire::kHeaderBytes);
        if (!take(raw)) return std::nullopt;
        const auto header = FrameHeader::decode(raw);
        if (!header) return std::nullopt;
        std::vector<std::byte> head(header->head_bytes);
        if (!take(head)) return std::nullopt;
        const auto message = decode_message(header->type, head);
        return message ? std::optional(*message) : std::nullopt;
    }
    void send_raw(std::string_view bytes) {
        static_cast<void>(::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL));
    }

  private:
    bool take(std::vector<std::byte>& into) {
        return into.empty() || ::recv(socket_.get(), into.data(), into.size(), MSG_WAITALL) ==
                                   static_cast<ssize_t>(into.size());
    }
    Fd socket_;
    std::uint64_t sequence_ = 0;
};

// Probes a peer that does this.
template <typename Act>
Result<LinkFacts> probe(Act act, LinkProbeLimits limits = {}) {
    auto pair = connected_pair();
    EXPECT_TRUE(pair);
    std::thread thread([&act, socket = std::move(pair->second)]() mutable {
        Peer peer(std::move(socket));
        act(peer);
    });
    Fd ours = std::move(pair->first);
    auto facts = probe_link(ours.get(), limits);
    ours = Fd();
    thread.join();
    return facts;
}

void answer_all(Peer& peer, std::size_t answers_max = SIZE_MAX) {
    std::uint64_t bytes = 0;
    for (std::size_t count = 0; const auto message = peer.hear();) {
        if (std::holds_alternative<HelloMessage>(*message)) peer.say(HelloMessage{});
        const auto* full = std::get_if<ProbeMessage>(&*message);
        if (full == nullptr || count++ >= answers_max) continue;
        bytes += full->filler.size() * sizeof(std::uint64_t);
        peer.say(PingMessage{});
        peer.say(ProbedMessage{.bytes = bytes, .clock_us = 1'000'000});
    }
}

TEST(LinkProbe, MeasuresWithNoMoreThanItMay) {
    const auto facts = probe([](Peer& peer) { answer_all(peer); },
                             {.time_max = std::chrono::minutes(2), .bytes_max = kMib});
    ASSERT_TRUE(facts) << facts.error().text();
    EXPECT_EQ(facts->bytes, kMib);
    EXPECT_GT(*facts->bytes_per_second, 0);
    EXPECT_LT(facts->clock_ahead, std::chrono::hours(-24)) << "its clock says 1970";
}

TEST(LinkProbe, TimeThatIsOverEndsIt) {
    // The rounds are answered, and a few of what is full; then nothing. A machine that is busy may
    // not even come so far in this time.
    const auto some = probe([](Peer& peer) { answer_all(peer, 7); },
                            {.time_max = milliseconds(300), .bytes_max = 16 * kMib});
    if (some) {
        EXPECT_LE(some->bytes, 3 * 8 * wire::kProbeWordsMax);
    } else {
        EXPECT_EQ(some.error().code, Code::kTimeout);
    }
    const auto silent = probe([](Peer& peer) { answer_all(peer, 0); },
                              {.time_max = milliseconds(100), .bytes_max = kMib});
    ASSERT_FALSE(silent);
    EXPECT_EQ(silent.error().code, Code::kTimeout);
}

TEST(LinkProbe, WhatIsNoAnswerIsSaid) {
    const auto old = probe([](Peer& peer) {
        peer.hear();
        peer.say(HelloMessage{.capabilities = wire::kCapDeflate});
    });
    EXPECT_EQ(old.error().code, Code::kUnsupported);
    const auto refusal = probe([](Peer& peer) {
        peer.hear();
        peer.say(ErrorMessage{.code = Code::kBusy, .text = "too many"});
    });
    EXPECT_EQ(refusal.error().code, Code::kBusy);
    const auto other = probe([](Peer& peer) {
        peer.hear();
        peer.say(HelloMessage{});
        peer.hear();
        peer.say(BegunMessage{});
    });
    EXPECT_EQ(other.error().code, Code::kProtocol);
    const auto noise = probe([](Peer& peer) {
        peer.hear();
        peer.send_raw(std::string(500, 'x'));
    });
    EXPECT_EQ(noise.error().code, Code::kProtocol);
    const auto gone = probe([](Peer& peer) { peer.hear(); });
    EXPECT_EQ(gone.error().code, Code::kDisconnected);
}

// Asks for the disk of a peer that answers so, or does not.
Result<DiskSample> disk_of(const std::optional<DiskProbedMessage>& answer,
                           std::uint64_t capabilities = HelloMessage{}.capabilities,
                           Duration time_max = std::chrono::minutes(2)) {
    auto pair = connected_pair();
    EXPECT_TRUE(pair);
    std::thread thread([&, socket = std::move(pair->second)]() mutable {
        Peer peer(std::move(socket));
        while (const auto message = peer.hear()) {
            if (std::holds_alternative<HelloMessage>(*message))
                peer.say(HelloMessage{.capabilities = capabilities});
            const auto* asked = std::get_if<ProbeDiskMessage>(&*message);
            if (asked == nullptr || !answer) continue;
            EXPECT_EQ(asked->name, "a/b");
            peer.say(PingMessage{});
            peer.say(*answer);
        }
    });
    Fd ours = std::move(pair->first);
    auto found = probe_disk(ours.get(), "a/b", time_max);
    ours = Fd();
    thread.join();
    return found;
}

TEST(DiskProbe, WhatTheTargetMeasuredIsTaken) {
    const auto both = disk_of(DiskProbedMessage{
        .written_bytes = kMib, .written_us = 20, .read_bytes = 2 * kMib, .read_us = 10});
    ASSERT_TRUE(both) << both.error().text();
    EXPECT_DOUBLE_EQ(*both->write_bytes_per_second(), static_cast<double>(kMib) * 5e4);
    EXPECT_DOUBLE_EQ(*both->read_bytes_per_second(), static_cast<double>(kMib) * 2e5);
    const auto device = disk_of(DiskProbedMessage{.read_bytes = kMib, .read_us = 10});
    ASSERT_TRUE(device);
    EXPECT_FALSE(device->write_bytes_per_second());
}

TEST(DiskProbe, WhyItWasNotMeasuredIsSaid) {
    const auto full = disk_of(DiskProbedMessage{.why_not = "too little is free"});
    ASSERT_FALSE(full);
    EXPECT_EQ(full.error().text(), "too little is free");
    const auto old = disk_of(std::nullopt, wire::kCapProbe);
    EXPECT_EQ(old.error().code, Code::kUnsupported);
    EXPECT_NE(old.error().text().find("upgrade"), std::string::npos);
    const auto stalled =
        disk_of(std::nullopt, HelloMessage{}.capabilities, std::chrono::milliseconds(200));
    EXPECT_EQ(stalled.error().code, Code::kTimeout);
}

TEST(DiskProbe, WhatCannotBeIsNotBelieved) {
    constexpr std::uint64_t kMost = wire::kDiskSampleBytesMax;
    const DiskProbedMessage lies[] = {
        {},                                                // measured, and nothing at all
        {.written_bytes = kMost + 1, .written_us = 1000},  // more than anybody measures
        {.read_bytes = UINT64_MAX, .read_us = 1000},
        {.written_bytes = kMib, .written_us = 0},                          // in no time
        {.read_bytes = kMost, .read_us = 1},                               // faster than any disk
        {.read_bytes = kMib, .read_us = std::uint64_t{3600} * 1'000'000},  // longer than we waited
        {.written_bytes = kMib, .written_us = 1000, .read_bytes = kMib, .read_us = UINT64_MAX},
    };
    for (const DiskProbedMessage& lie : lies) {
        const auto found = disk_of(lie);
        ASSERT_FALSE(found);
        EXPECT_EQ(found.error().code, Code::kProtocol);
    }
}

}  // namespace
}  // namespace towline
