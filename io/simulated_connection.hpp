// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <sys/socket.h>
#include <vector>

#include "io/clock.hpp"
#include "io/engine.hpp"

namespace towline {

class SimulatedConnection;
class SimulatedRandom;
class SimulatedWorld;

// One direction of a connection. Bytes are counted from the start of the connection: a fate "at" k
// lets bytes 0 to k - 1 through and no other.
struct StreamPlan {
    // Sent and not yet received; a sender waits when it is full.
    std::size_t buffer_bytes = 256 << 10;
    Duration latency_min = std::chrono::microseconds(20);
    Duration latency_max = std::chrono::microseconds(500);
    // How often a send or receive moves less than it could, one that waits for all included.
    double partial_rate = 0.25;
    // The link goes: the receiver gets end of file after byte k - 1, the sender EPIPE, and the
    // other direction ends behind what is in it.
    std::optional<std::uint64_t> close_at;
    // Both ends get ECONNRESET; what arrived and was not yet received may be lost.
    std::optional<std::uint64_t> reset_at;
    // Nothing more arrives, no end either; the sender fills the buffer and then waits for ever.
    std::optional<std::uint64_t> stall_at;
    // One bit of these bytes is flipped; rising.
    std::vector<std::uint64_t> corrupt_at;
    // The same for each byte with this probability.
    double corruption_rate = 0;
};

struct ConnectionPlan {
    StreamPlan first_to_second;
    StreamPlan second_to_first;
};

enum class ConnectionSide { kFirst = 0, kSecond = 1 };

class SimulatedStream {
  public:
    // Called from an event or at once; it only ever gathers a completion.
    using Reply = std::function<void(std::int64_t result)>;

    SimulatedStream(SimulatedConnection& connection, SimulatedWorld& world, StreamPlan plan);
    SimulatedStream(const SimulatedStream&) = delete;
    SimulatedStream& operator=(const SimulatedStream&) = delete;

    // One of each at a time: two sends under way at once could be cut into each other.
    void send(const msghdr* message, Reply reply);
    void receive(msghdr* message, ReceiveMode mode, Reply reply);

    // Nobody waits any more: that side was killed.
    void forget_sender() { sender_ = {}; }
    void forget_receiver() { receiver_ = {}; }
    // The end of file follows what was sent.
    void close_sender();
    // Nobody will receive: what is there is dropped, and the sender learns of it.
    void close_receiver();
    // At once, for both ends.
    void reset();
    // From some byte on that was sent and has not arrived, nothing more comes.
    void fall_silent();

    // Where the two are, for the places of faults: taken from the sender, given to the receiver.
    std::uint64_t sent_bytes() const { return accepted_; }
    std::uint64_t received_bytes() const { return delivered_; }

  private:
    friend class SimulatedConnection;
    struct Sender {
        const msghdr* message = nullptr;
        Reply reply;
    };
    struct Receiver {
        msghdr* message = nullptr;
        ReceiveMode mode = ReceiveMode::kSome;
        Reply reply;
        std::size_t got_bytes = 0;  // so far, by one that waits for all
    };

    SimulatedRandom& random();
    // Every attempt is an event, and harmless when it finds nothing to do.
    void try_send_soon();
    void try_receive_soon();
    void try_send();
    void try_receive();
    bool take();
    void deliver(std::size_t count);
    void accept(const msghdr* message, std::size_t count);
    void corrupt(std::size_t tail_count);
    void draw_next_corruption();
    void arrive(std::uint64_t up_to);
    void cut();
    bool stalled() const;
    Instant next_arrival();
    std::size_t choose_count(std::size_t possible);

    SimulatedConnection& connection_;
    SimulatedWorld& world_;
    StreamPlan plan_;
    Sender sender_;
    Receiver receiver_;
    // From delivered_ to accepted_; the part below arrived_ can be received.
    std::deque<std::byte> bytes_;
    std::uint64_t accepted_ = 0;
    std::uint64_t arrived_ = 0;
    std::uint64_t delivered_ = 0;
    Instant last_arrival_;
    std::size_t corrupted_count_ = 0;
    std::uint64_t next_corruption_ = UINT64_MAX;
    int send_error_ = 0;
    int receive_error_ = 0;
    bool ended_ = false;
};

// Two streams and what ties them: a close or reset of one is one of both.
class SimulatedConnection {
  public:
    SimulatedConnection(SimulatedWorld& world, std::uint32_t number, ConnectionPlan plan);
    SimulatedConnection(const SimulatedConnection&) = delete;
    SimulatedConnection& operator=(const SimulatedConnection&) = delete;

    // What `side` sends into, and what it receives from.
    SimulatedStream& outgoing(ConnectionSide side) { return streams_[side != kFirst]; }
    SimulatedStream& incoming(ConnectionSide side) { return streams_[side == kFirst]; }

    // As shutdown(2) of both directions by one side.
    void shut_down(ConnectionSide side);
    // As a broken link: at any moment, by a test or by a stream that reached its byte.
    void close();
    void reset();

  private:
    friend class SimulatedStream;
    static constexpr ConnectionSide kFirst = ConnectionSide::kFirst;
    void close_at(SimulatedStream& stream);
    SimulatedStream& opposite(SimulatedStream& stream) { return streams_[&stream == &streams_[0]]; }

    SimulatedWorld& world_;
    std::uint32_t number_;
    SimulatedStream streams_[2];
};

}  // namespace towline
