// SPDX-License-Identifier: Apache-2.0
// Frames over a simulated stream that cuts sends and receives where it likes. What comes out must
// be what went in, and nothing may be told as sent before it is, or delivered when the stream is
// not in order.

#include "transport/channel.hpp"

#include "tests/unit/hostile_peer.hpp"
#include "tests/unit/simulated_fixture.hpp"

namespace towline {
namespace {

using testing::frame_bytes;
using testing::RawPeer;

constexpr std::size_t kRoomBytes = wire::kPayloadBytesMax;

// Keeps what is delivered; `rooms` is how many payloads it takes before it says that it is full.
class Listening final : public Channel::Owner {
  public:
    MutableByteSpan payload_room(Channel&, const FrameHeader&) override {
        if (rooms == 0) {
            ++turned_away;
            return {};
        }
        --rooms;
        room.resize(kRoomBytes);
        return room;
    }
    void on_data(Channel&, ByteSpan head, ByteSpan payload) override {
        heads.emplace_back(head.begin(), head.end());
        payloads.emplace_back(payload.begin(), payload.end());
    }
    void on_message(Channel&, Message message) override { messages.push_back(std::move(message)); }
    void on_closed(Channel&, Error error) override {
        EXPECT_FALSE(closed);
        closed = std::move(error);
    }

    int rooms = INT32_MAX;
    int turned_away = 0;
    std::vector<std::byte> room;
    std::vector<std::vector<std::byte>> heads;
    std::vector<std::vector<std::byte>> payloads;
    std::vector<Message> messages;
    std::optional<Error> closed;
};

struct Ends {
    explicit Ends(std::uint64_t seed, ConnectionPlan plan = {}) : link(seed, std::move(plan)) {
        first.start();
        second.start();
    }
    ~Ends() { link.end(); }
    void settle() { link.run_to_idle(); }

    LinkBench link;
    Listening at_first;
    Listening at_second;
    Channel first{link.source, link.source_socket, at_first};
    Channel second{link.target, link.target_socket, at_second};
};

// A Data frame in two pieces of memory.
struct Parcel {
    explicit Parcel(std::size_t size) : bytes(numbered_bytes(size)), head(numbered_bytes(24)) {
        frame.type = wire::FrameType::kData;
        frame.head = head;
        const std::size_t half = size / 2;
        if (half > 0) frame.payload.push_back({bytes.data(), half});
        frame.payload.push_back({bytes.data() + half, size - half});
        frame.on_sent = [this] { ++sent; };
    }
    std::vector<std::byte> bytes;
    std::vector<std::byte> head;
    OutFrame frame;
    int sent = 0;
};

TEST(Channel, FramesOfAllSizesArriveWholeAndInOrder) {
    for (std::uint64_t seed = 0; seed < 16; ++seed) {
        ConnectionPlan plan;
        plan.first_to_second.buffer_bytes = 1000 + seed * 5000;
        Ends ends(seed, plan);
        std::deque<Parcel> parcels;
        for (const std::size_t size : std::initializer_list<std::size_t>{1, 39, 40, 41, 4096, 65536,
                                                                         70001, 1048576, 2, 524288})
            parcels.emplace_back(size);
        for (Parcel& parcel : parcels) {
            ends.first.send(parcel.frame);
            ends.first.send_message(AckMessage{parcel.bytes.size()});
        }
        ends.second.send_message(PingMessage{});
        ends.settle();
        ASSERT_EQ(ends.at_second.payloads.size(), parcels.size()) << seed;
        for (std::size_t i = 0; i < parcels.size(); ++i) {
            EXPECT_TRUE(ends.at_second.payloads[i] == parcels[i].bytes) << i;
            EXPECT_EQ(ends.at_second.heads[i], parcels[i].head);
            EXPECT_EQ(std::get<AckMessage>(ends.at_second.messages[i]).durable_bytes,
                      parcels[i].bytes.size());
            EXPECT_EQ(parcels[i].sent, 1);
        }
        EXPECT_EQ(ends.at_first.messages.size(), 1U);
        EXPECT_EQ(ends.first.queued_bytes(), 0U);
        EXPECT_TRUE(ends.first.drained());
        EXPECT_EQ(ends.first.sent_bytes(), ends.second.received_bytes());
    }
}

// Whoever hears that a frame was sent may send more at once: also from the middle of a batch.
TEST(Channel, FramesThatAreSentFromOnSentWaitForTheirTurn) {
    for (std::uint64_t seed = 0; seed < 16; ++seed) {
        Ends ends(seed);
        std::deque<Parcel> parcels;
        for (int i = 0; i < 12; ++i)
            parcels.emplace_back(3000);
        int rounds = 0;
        for (Parcel& parcel : parcels) {
            parcel.frame.on_sent = [&] {
                ++parcel.sent;
                if (++rounds < 100) ends.first.send_message(ZeroMessage{7, 9});
            };
            ends.first.send(parcel.frame);
        }
        ends.settle();
        EXPECT_FALSE(ends.at_second.closed) << ends.at_second.closed->text();
        EXPECT_EQ(ends.at_second.payloads.size(), 12U);
        EXPECT_EQ(ends.at_second.messages.size(), 12U);
        for (const Message& message : ends.at_second.messages)
            EXPECT_EQ(message, Message(ZeroMessage{7, 9}));
    }
}

TEST(Channel, WithoutRoomTheStreamWaits) {
    Ends ends(1);
    ends.at_second.rooms = 1;
    Parcel parcels[] = {Parcel(5000), Parcel(6000), Parcel(7000)};
    for (Parcel& parcel : parcels)
        ends.first.send(parcel.frame);
    ends.settle();
    EXPECT_EQ(ends.at_second.payloads.size(), 1U);
    EXPECT_EQ(ends.at_second.turned_away, 1);
    EXPECT_EQ(ends.second.silence(), Duration{});  // it is we who do not listen
    for (std::size_t have = 2; have <= 3; ++have) {
        ends.at_second.rooms = 1;
        ends.second.resume();
        ends.settle();
        EXPECT_EQ(ends.at_second.payloads.size(), have);
        EXPECT_TRUE(ends.at_second.payloads.back() == parcels[have - 1].bytes);
    }
}

TEST(Channel, HeldItDeliversNothingAndLosesNothing) {
    Ends ends(1);
    ends.second.hold(true);
    for (std::uint64_t i = 0; i < 5; ++i)
        ends.first.send_message(AckMessage{i});
    ends.settle();
    EXPECT_TRUE(ends.at_second.messages.empty());
    ends.second.hold(false);
    ends.settle();
    ASSERT_EQ(ends.at_second.messages.size(), 5U);
    EXPECT_EQ(std::get<AckMessage>(ends.at_second.messages[4]).durable_bytes, 4U);
}

// --- what a peer may not do -----------------------------------------------------------------

// A channel and a peer that is none.
struct Exposed {
    ~Exposed() { link.end(); }
    void say(const std::vector<std::byte>& bytes) {
        peer.send(bytes);
        link.run_to_idle();
    }
    std::vector<std::byte> ack(std::uint64_t run, std::uint64_t sequence) {
        return frame_bytes(wire::FrameType::kAck, run, sequence, encode_message(AckMessage{5}));
    }
    Code closed_with() { return owner.closed ? owner.closed->code : Code::kCancelled; }

    LinkBench link{1};
    Listening owner;
    Channel channel{link.target, link.target_socket, owner};
    RawPeer peer{link.source, link.source_socket};
};

TEST(Channel, FramesOutOfSequenceCloseIt) {
    for (const std::uint64_t sequence : std::initializer_list<std::uint64_t>{0, 2, 100}) {
        Exposed exposed;
        exposed.channel.start();
        exposed.say(exposed.ack(0, 0));
        EXPECT_EQ(exposed.owner.messages.size(), 1U);
        exposed.say(exposed.ack(0, sequence));
        EXPECT_EQ(exposed.closed_with(), Code::kProtocol);
        EXPECT_EQ(exposed.owner.messages.size(), 1U);
    }
}

TEST(Channel, FramesOfAnotherRunCloseItErrorsDoNot) {
    Exposed exposed;
    exposed.channel.start();
    exposed.channel.set_run(7);
    exposed.say(exposed.ack(7, 0));
    exposed.say(frame_bytes(wire::FrameType::kError, 9, 1, encode_message(ErrorMessage{})));
    EXPECT_EQ(exposed.owner.messages.size(), 2U);
    exposed.say(exposed.ack(8, 2));
    EXPECT_EQ(exposed.closed_with(), Code::kProtocol);
}

TEST(Channel, ADamagedHeadClosesIt) {
    Exposed exposed;
    exposed.channel.start();
    std::vector<std::byte> bytes = exposed.ack(0, 0);
    bytes[wire::kHeaderBytes] ^= std::byte{1};
    exposed.say(bytes);
    EXPECT_EQ(exposed.closed_with(), Code::kCorrupt);
    EXPECT_TRUE(exposed.owner.messages.empty());
}

TEST(Channel, TheFlagOfANextFrameMayBeWrong) {
    Exposed exposed;
    exposed.channel.start();
    const auto head = encode_message(AckMessage{5});
    // Not set although one follows; set although none does yet.
    std::vector<std::byte> bytes = frame_bytes(wire::FrameType::kAck, 0, 0, head);
    const auto more = frame_bytes(wire::FrameType::kAck, 0, 1, head, {}, wire::kFlagNextFollows);
    bytes.insert(bytes.end(), more.begin(), more.end());
    exposed.say(bytes);
    exposed.say(exposed.ack(0, 2));
    EXPECT_EQ(exposed.owner.messages.size(), 3U);
    EXPECT_FALSE(exposed.owner.closed);
}

// At each byte of two frames: what was whole is delivered, what was not is not, and the end is
// told.
TEST(Channel, AConnectionThatEndsAtAnyByteIsDisconnected) {
    const auto data = numbered_bytes(100);
    const auto head = numbered_bytes(24);
    for (const bool reset : {false, true}) {
        for (std::uint64_t at = 0; at <= 40 + 8 + 40 + 24 + 100; ++at) {
            ConnectionPlan plan;
            (reset ? plan.first_to_second.reset_at : plan.first_to_second.close_at) = at;
            LinkBench link(at, plan);
            Listening owner;
            {
                Channel channel(link.target, link.target_socket, owner);
                RawPeer peer(link.source, link.source_socket);
                channel.start();
                peer.say(AckMessage{5});
                peer.send(frame_bytes(wire::FrameType::kData, 0, 1, head, data));
                peer.say(PingMessage{});
                link.run_to_idle();
                ASSERT_TRUE(owner.closed) << at;
                EXPECT_EQ(owner.closed->code, Code::kDisconnected);
                // A reset may take with it what had arrived.
                EXPECT_TRUE(reset || owner.messages.size() == (at >= 48 ? 1U : 0U)) << at;
                EXPECT_TRUE(reset || owner.payloads.size() == (at >= 212 ? 1U : 0U)) << at;
                link.end();
            }
        }
    }
}

// --- time -----------------------------------------------------------------------------------

TEST(Channel, ALimitedLinkTakesItsTime) {
    Ends ends(1);
    RateLimiter limiter(1'000'000);
    ends.first.set_limiter(&limiter);
    std::deque<Parcel> parcels;
    for (int i = 0; i < 30; ++i)
        parcels.emplace_back(100'000);
    const Instant began = ends.link.world.now();
    for (Parcel& parcel : parcels)
        ends.first.send(parcel.frame);
    ends.settle();
    const double took = seconds(ends.link.world.now() - began);
    EXPECT_EQ(ends.at_second.payloads.size(), 30U);
    EXPECT_GT(took, 2.7);
    EXPECT_LT(took, 3.3);
    EXPECT_GT(seconds(ends.first.busy_time()), 2.5);
}

// Half a megabyte at 10 KB/s takes most of a minute, and the limit on silence is half of one.
TEST(Channel, AFrameUnderALowLimitIsNoSilence) {
    Ends ends(1);
    RateLimiter limiter(10'000);
    ends.first.set_limiter(&limiter);
    Parcel parcel(512 << 10);
    const Instant began = ends.link.world.now();
    Duration longest{};
    ends.first.send(parcel.frame);
    while (ends.at_second.payloads.empty() && ends.link.world.now() < began + 100s) {
        const Instant later = ends.link.world.now() + 100ms;
        ends.link.world.at(later, [] {});
        ends.link.world.run([&] { return ends.link.world.now() >= later; }, 1s);
        longest = std::max({longest, ends.second.silence(), ends.first.send_silence()});
    }
    EXPECT_EQ(ends.at_second.payloads.size(), 1U);
    EXPECT_NEAR(seconds(ends.link.world.now() - began), 52, 2);
    EXPECT_LT(longest, 3s);
}

TEST(Channel, SilenceIsTimeWithoutAByte) {
    Ends ends(1);
    ends.link.world.run([] { return false; }, 3s);
    const Instant later = ends.link.world.now() + 10s;
    ends.link.world.at(later, [] {});
    ends.link.world.run([&] { return ends.link.world.now() >= later; }, 20s);
    EXPECT_GE(ends.second.silence(), 10s);
    EXPECT_EQ(ends.second.send_silence(), Duration{});
    ends.first.send_message(PingMessage{});
    ends.settle();
    EXPECT_LT(ends.second.silence(), 1s);
}

// What the longest silence of a peer was that sends a frame in steps, until it is whole or a minute
// of silence has passed.
Duration longest_silence(std::size_t payload_bytes, std::size_t step_bytes, Duration step) {
    LinkBench link(1);
    Listening owner;
    Duration longest{};
    {
        Channel channel(link.target, link.target_socket, owner);
        RawPeer peer(link.source, link.source_socket);
        channel.start();
        const auto bytes = frame_bytes(wire::FrameType::kData, 0, 0, numbered_bytes(24),
                                       numbered_bytes(payload_bytes));
        for (std::size_t at = 0; at < bytes.size() && longest < 60s; at += step_bytes) {
            const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(at);
            const auto size = std::min(step_bytes, bytes.size() - at);
            peer.send({begin, begin + static_cast<std::ptrdiff_t>(size)});
            const Instant later = link.world.now() + step;
            link.world.at(later, [] {});
            link.world.run([&] { return link.world.now() >= later; }, step);
            longest = std::max(longest, channel.silence());
        }
        EXPECT_EQ(owner.payloads.size(), longest < 60s ? 1U : 0U);
        link.end();
    }
    return longest;
}

// Half a megabyte at 4 KB/s takes two minutes, and the limit on silence is half of one.
TEST(Channel, AFrameThatComesSlowlyIsNoSilence) {
    EXPECT_LT(longest_silence(512 << 10, 4096, 1s), 8s);
    EXPECT_LT(longest_silence(512 << 10, 100, 25ms), 8s);
}

TEST(Channel, APeerThatDribblesIsSilent) {
    EXPECT_GE(longest_silence(512 << 10, 1, 1s), 60s);
    EXPECT_GE(longest_silence(512 << 10, 40, 1s), 60s);
    EXPECT_GE(longest_silence(1, 1, 1s), 60s);
}

TEST(Pace, AFastLinkIsSoonAskedForWholeFrames) {
    Instant now{};
    PieceSize piece(now);
    int receives = 0;
    for (; piece.bytes() < wire::kPayloadBytesMax && receives < 1000; ++receives)
        piece.add(piece.bytes(), now += std::chrono::microseconds(10));
    EXPECT_LT(receives, 20);
    for (int i = 0; i < 100'000; ++i)
        piece.add(piece.bytes(), now += 1ms);
    EXPECT_EQ(piece.bytes(), PieceSize::kMax);
}

TEST(Pace, ASlowLinkIsAskedForAMomentsWorth) {
    for (const std::size_t burst : {100, 10'000, 100'000}) {
        Instant now{};
        PieceSize piece(now);
        const auto step = std::chrono::microseconds(burst * 25);  // 40 KB/s
        for (int i = 0; i < 10'000; ++i)
            piece.add(burst, now += step);
        EXPECT_LE(piece.bytes(), std::max<std::size_t>(5'001, burst / 8)) << burst;
        piece.add(1, now += 60s);
        EXPECT_EQ(piece.bytes(), PieceSize::kMin);
    }
}

TEST(Channel, APeerThatTakesNothingIsSilent) {
    ConnectionPlan plan;
    plan.first_to_second.stall_at = 1000;
    plan.first_to_second.buffer_bytes = 2000;
    Parcel parcel(100'000);  // outlives the channel, in whose queue it stays
    Ends ends(1, plan);
    ends.first.send(parcel.frame);
    ends.settle();
    const Instant later = ends.link.world.now() + 10s;
    ends.link.world.at(later, [] {});
    ends.link.world.run([&] { return ends.link.world.now() >= later; }, 20s);
    EXPECT_GE(ends.first.send_silence(), 9s);
    EXPECT_EQ(parcel.sent, 0);
}

}  // namespace
}  // namespace towline
