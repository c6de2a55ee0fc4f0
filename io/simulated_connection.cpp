// SPDX-License-Identifier: Apache-2.0
// A stream is a queue of bytes with three marks: accepted from the sender, arrived, delivered to
// the receiver. Bytes become receivable in order, each batch after its latency; a full queue makes
// the sender wait, and every delivery makes it try again. Faults are bound to byte positions and
// not to time, so that a test can put one on every byte of a conversation.

#include "io/simulated_connection.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <utility>

#include "io/check.hpp"
#include "io/simulated_world.hpp"

namespace towline {

namespace {

constexpr Duration kAttemptMax = std::chrono::microseconds(10);

std::size_t message_bytes(const msghdr* message) {
    std::size_t total = 0;
    for (std::size_t i = 0; i < message->msg_iovlen; ++i) {
        total += message->msg_iov[i].iov_len;
    }
    return total;
}

}  // namespace

SimulatedStream::SimulatedStream(SimulatedConnection& connection, SimulatedWorld& world,
                                 StreamPlan plan)
    : connection_(connection), world_(world), plan_(std::move(plan)) {
    CHECK(plan_.buffer_bytes > 0);
    CHECK(std::is_sorted(plan_.corrupt_at.begin(), plan_.corrupt_at.end()));
    draw_next_corruption();
    // A fate at byte 0 waits for no byte.
    world_.at(next_arrival(), [this] { arrive(0); });
}

SimulatedRandom& SimulatedStream::random() {
    return world_.random();
}

std::size_t SimulatedStream::choose_count(std::size_t possible) {
    const bool partial = random().chance(plan_.partial_rate);
    return partial ? random().between(1, possible) : possible;
}

Instant SimulatedStream::next_arrival() {
    const Duration latency = random().between(plan_.latency_min, plan_.latency_max);
    last_arrival_ = std::max(last_arrival_, world_.now() + latency);
    return last_arrival_;
}

bool SimulatedStream::stalled() const {
    return plan_.stall_at && accepted_ >= *plan_.stall_at;
}

// ---- sending

void SimulatedStream::send(const msghdr* message, Reply reply) {
    CHECK(!sender_.reply);
    sender_ = {message, std::move(reply)};
    try_send_soon();
}

void SimulatedStream::try_send_soon() {
    world_.at(world_.now() + random().between(Duration(0), kAttemptMax), [this] { try_send(); });
}

void SimulatedStream::try_send() {
    if (!sender_.reply) return;
    const std::size_t space = plan_.buffer_bytes - bytes_.size();
    const std::size_t possible = std::min(space, message_bytes(sender_.message));
    if (send_error_ == 0 && space == 0) return;
    const Sender sender = std::exchange(sender_, {});
    if (send_error_ != 0) return sender.reply(-send_error_);
    if (possible == 0) return sender.reply(0);
    const std::size_t count = choose_count(possible);
    accept(sender.message, count);
    world_.at(next_arrival(), [this, up_to = accepted_] { arrive(up_to); });
    sender.reply(static_cast<std::int64_t>(count));
}

void SimulatedStream::accept(const msghdr* message, std::size_t count) {
    std::size_t left = count;
    for (std::size_t i = 0; left > 0; ++i) {
        const auto* from = static_cast<const std::byte*>(message->msg_iov[i].iov_base);
        const std::size_t part = std::min(left, message->msg_iov[i].iov_len);
        bytes_.insert(bytes_.end(), from, from + part);
        left -= part;
    }
    accepted_ += count;
    corrupt(count);
}

// ---- damage

void SimulatedStream::draw_next_corruption() {
    if (plan_.corruption_rate <= 0) return;
    // The distance to the next hit of a coin that is thrown for every byte.
    const double distance =
        std::log(1.0 - random().fraction()) / std::log1p(-std::min(plan_.corruption_rate, 0.999));
    next_corruption_ = next_corruption_ == UINT64_MAX ? 0 : next_corruption_ + 1;
    next_corruption_ += static_cast<std::uint64_t>(std::min(distance, 1e15));
}

// Of what was accepted last: flips one bit in each byte that is up for it.
void SimulatedStream::corrupt(std::size_t tail_count) {
    const std::uint64_t tail_start = accepted_ - tail_count;
    const auto flip = [&](std::uint64_t position) {
        const auto bit = std::byte{1} << static_cast<int>(random().below(8));
        bytes_[bytes_.size() - tail_count + (position - tail_start)] ^= bit;
    };
    const std::vector<std::uint64_t>& chosen = plan_.corrupt_at;
    for (; corrupted_count_ < chosen.size() && chosen[corrupted_count_] < accepted_;
         ++corrupted_count_) {
        flip(chosen[corrupted_count_]);
    }
    while (next_corruption_ < accepted_) {
        flip(next_corruption_);
        draw_next_corruption();
    }
}

// ---- arriving and receiving

void SimulatedStream::arrive(std::uint64_t up_to) {
    if (ended_ || receive_error_ != 0) return;
    const std::uint64_t none = UINT64_MAX;
    const std::uint64_t stall = plan_.stall_at.value_or(none);
    const std::uint64_t close = plan_.close_at.value_or(none);
    const std::uint64_t reset = plan_.reset_at.value_or(none);
    arrived_ = std::max(arrived_, std::min({up_to, stall, close, reset}));
    try_receive();
    if (stall <= arrived_) return;
    if (close <= arrived_) return connection_.close_at(*this);
    if (reset <= arrived_) connection_.reset();
}

void SimulatedStream::receive(msghdr* message, ReceiveMode mode, Reply reply) {
    CHECK(!receiver_.reply);
    receiver_ = {message, mode, std::move(reply)};
    try_receive_soon();
}

void SimulatedStream::try_receive_soon() {
    world_.at(world_.now() + random().between(Duration(0), kAttemptMax), [this] { try_receive(); });
}

void SimulatedStream::try_receive() {
    if (!receiver_.reply || !take()) return;
    const Receiver receiver = std::exchange(receiver_, {});
    receiver.message->msg_flags = 0;
    receiver.message->msg_controllen = 0;
    const auto got = static_cast<std::int64_t>(receiver.got_bytes);
    receiver.reply(got > 0 ? got : -receive_error_);
}

// False when the receiver has to wait on. One that waits for all takes what comes, since that may
// be more than the buffer holds, and is interrupted where it is given less than is there.
bool SimulatedStream::take() {
    const bool over = ended_ || receive_error_ != 0;
    const std::uint64_t there = arrived_ - delivered_;
    if (there == 0) return over;
    const std::size_t wanted = message_bytes(receiver_.message) - receiver_.got_bytes;
    const std::size_t possible = std::min<std::size_t>(there, wanted);
    const std::size_t count = possible == 0 ? 0 : choose_count(possible);
    deliver(count);
    const bool interrupted = count < possible;
    return receiver_.mode == ReceiveMode::kSome || count == wanted || interrupted || over;
}

void SimulatedStream::deliver(std::size_t count) {
    std::size_t skip = receiver_.got_bytes;
    std::size_t left = count;
    for (std::size_t i = 0; left > 0; ++i) {
        const iovec& part = receiver_.message->msg_iov[i];
        const std::size_t skipped = std::min(skip, part.iov_len);
        skip -= skipped;
        const std::size_t length = std::min(left, part.iov_len - skipped);
        const auto end = bytes_.begin() + static_cast<std::ptrdiff_t>(length);
        std::copy(bytes_.begin(), end, static_cast<std::byte*>(part.iov_base) + skipped);
        bytes_.erase(bytes_.begin(), end);
        left -= length;
    }
    receiver_.got_bytes += count;
    delivered_ += count;
    try_send_soon();
}

// ---- ends

void SimulatedStream::close_sender() {
    if (send_error_ != 0) return;
    send_error_ = EPIPE;
    try_send_soon();
    const auto end = [this] {
        if (receive_error_ != 0 || stalled()) return;
        ended_ = true;
        try_receive();
    };
    world_.at(next_arrival(), end);
}

void SimulatedStream::close_receiver() {
    ended_ = true;
    bytes_.clear();
    delivered_ = arrived_ = accepted_;
    try_receive_soon();
    const auto tell_sender = [this] {
        // The news travels the other way.
        if (connection_.opposite(*this).stalled()) return;
        if (send_error_ == 0) send_error_ = EPIPE;
        try_send();
    };
    world_.at(world_.now() + random().between(plan_.latency_min, plan_.latency_max), tell_sender);
}

void SimulatedStream::cut() {
    bytes_.resize(arrived_ - delivered_);
    ended_ = true;
    if (send_error_ == 0) send_error_ = EPIPE;
    try_send_soon();
    try_receive_soon();
}

void SimulatedStream::reset() {
    if (random().chance(0.5)) arrived_ = delivered_;
    bytes_.resize(arrived_ - delivered_);
    if (send_error_ == 0) send_error_ = ECONNRESET;
    if (!ended_) receive_error_ = ECONNRESET;
    try_send_soon();
    try_receive_soon();
}

void SimulatedStream::fall_silent() {
    if (ended_ || receive_error_ != 0) return;
    const std::uint64_t last = random().between(arrived_, accepted_);
    plan_.stall_at = std::min(last, plan_.stall_at.value_or(last));
}

// ---- both directions

SimulatedConnection::SimulatedConnection(SimulatedWorld& world, std::uint32_t number,
                                         ConnectionPlan plan)
    : world_(world),
      number_(number),
      streams_{{*this, world, std::move(plan.first_to_second)},
               {*this, world, std::move(plan.second_to_first)}} {}

void SimulatedConnection::shut_down(ConnectionSide side) {
    outgoing(side).close_sender();
    incoming(side).close_receiver();
}

void SimulatedConnection::close_at(SimulatedStream& stream) {
    world_.note("closed", number_, stream.arrived_);
    stream.cut();
    opposite(stream).close_sender();
}

void SimulatedConnection::close() {
    world_.note("closed", number_, 0);
    for (SimulatedStream& stream : streams_) {
        stream.close_sender();
    }
}

void SimulatedConnection::reset() {
    world_.note("reset", number_, 0);
    for (SimulatedStream& stream : streams_) {
        stream.reset();
    }
}

}  // namespace towline
