// SPDX-License-Identifier: Apache-2.0
// A few empty probes one by one give the round trip and the clocks; then probes that are full go
// out as fast as the link takes them, and what the target confirms within the time counts. A link
// gets up to its speed first, so the second half of that time is what is told.
//
// The disk is asked for over a connection of its own: one that stalls holds up no measurement of
// the link. What a target says of itself is believed no further than it can be: it measured no more
// than the most, in no more time than we waited for it.

#include "userspace/engine/link_probe.hpp"

#include <algorithm>
#include <poll.h>
#include <random>
#include <sys/socket.h>

#include "io/checksum.hpp"
#include "transport/frame.hpp"
#include "transport/messages.hpp"

namespace towline {

namespace {

constexpr int kRounds = 4;
constexpr std::size_t kReceiveBytes = std::size_t{64} * 1024;

Duration wall_clock() {
    return std::chrono::duration_cast<Duration>(
        std::chrono::system_clock::now().time_since_epoch());
}

Error silent() {
    return {Code::kTimeout, 0, "the target does not answer a probe in time"};
}

// No disk is faster.
constexpr double kBytesPerSecondMax = 1e12;

// Frames over a blocking socket, of which nothing is waited for longer than until `end`.
class ProbeTalk {
  public:
    ProbeTalk(int socket, Instant end) : socket_(socket), end_(end) {}

    void queue(const Message& message) {
        const std::vector<std::byte> head = encode_message(message);
        const FrameHeader header{.type = type_of(message),
                                 .sequence = out_sequence_++,
                                 .head_bytes = static_cast<std::uint32_t>(head.size()),
                                 .head_crc = head.empty() ? 0 : crc32c(head)};
        const std::size_t at = out_.size();
        out_.resize(at + wire::kHeaderBytes);
        header.encode(MutableByteSpan(out_).subspan(at));
        out_.insert(out_.end(), head.begin(), head.end());
    }
    bool all_sent() const { return out_.empty(); }

    // What is there now, and what can be sent now; waits for either. Nothing: the time is over.
    Result<bool> exchange() {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(end_ - monotonic_now()).count();
        if (left <= 0) return false;
        const bool sending = !out_.empty();
        pollfd wait{.fd = socket_,
                    .events = static_cast<short>(POLLIN | (sending ? POLLOUT : 0)),
                    .revents = 0};
        const int ready = ::poll(&wait, 1, static_cast<int>(left));
        if (ready < 0 && errno != EINTR) return fail_errno("cannot wait for the target");
        if (ready <= 0) return ready < 0;
        if (sending && (wait.revents & POLLOUT) != 0) TRY_STATUS(send_some());
        if ((wait.revents & (POLLIN | POLLHUP | POLLERR)) != 0) TRY_STATUS(receive_some());
        return true;
    }

    // The next whole message, if one is there. Pings are none, and an Error is one of ours.
    Result<std::optional<Message>> take() {
        while (in_.size() >= wire::kHeaderBytes) {
            const auto header = TRY(FrameHeader::decode(in_));
            const std::size_t whole = wire::kHeaderBytes + header.head_bytes;
            if (header.payload_bytes != 0 || header.sequence != in_sequence_)
                return fail(Code::kProtocol, "the target answers a probe with something else");
            if (in_.size() < whole) break;
            const std::vector<std::byte> head(in_.begin() + wire::kHeaderBytes,
                                              in_.begin() + static_cast<std::ptrdiff_t>(whole));
            in_.erase(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(whole));
            ++in_sequence_;
            if (!head.empty() && crc32c(head) != header.head_crc)
                return fail(Code::kCorrupt, "what the target answers arrives damaged");
            auto message = TRY(decode_message(header.type, head));
            if (std::holds_alternative<PingMessage>(message)) continue;
            if (const auto* error = std::get_if<ErrorMessage>(&message))
                return fail(error->code, error->text);
            return std::optional(std::move(message));
        }
        return std::optional<Message>();
    }

    // Waits for it.
    template <typename M>
    Result<M> hear() {
        while (true) {
            const auto message = TRY(take());
            if (message) {
                const auto* wanted = std::get_if<M>(&*message);
                if (wanted != nullptr) return *wanted;
                return fail(Code::kProtocol, "the target answers a probe with something else");
            }
            if (!TRY(exchange())) return std::unexpected(silent());
        }
    }

  private:
    Status send_some() {
        const auto sent = ::send(socket_, out_.data(), out_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return {};
        if (sent < 0) return fail(Code::kDisconnected, "the target closed the connection");
        out_.erase(out_.begin(), out_.begin() + sent);
        return {};
    }

    Status receive_some() {
        const std::size_t had = in_.size();
        in_.resize(had + kReceiveBytes);
        const auto got = ::recv(socket_, in_.data() + had, kReceiveBytes, MSG_DONTWAIT);
        in_.resize(had + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return {};
        if (got <= 0) return fail(Code::kDisconnected, "the target closed the connection");
        return {};
    }

    int socket_;
    Instant end_;
    std::vector<std::byte> out_;
    std::vector<std::byte> in_;
    std::uint64_t out_sequence_ = 0;
    std::uint64_t in_sequence_ = 0;
};

// Words that no link makes smaller.
ProbeMessage full_probe() {
    ProbeMessage probe;
    probe.filler.resize(wire::kProbeWordsMax);
    std::mt19937_64 random(0x70726f6265);
    std::ranges::generate(probe.filler, random);
    return probe;
}

Status measure_rounds(ProbeTalk& talk, Instant began, LinkTally& tally) {
    for (int round = 0; round < kRounds; ++round) {
        // In this order: what passes in between is in the round, and so in what is not known.
        const Duration sent = monotonic_now() - began;
        const Duration clock = wall_clock();
        talk.queue(ProbeMessage{});
        const auto answer = TRY(talk.hear<ProbedMessage>());
        tally.add_round(sent, monotonic_now() - began, std::chrono::microseconds(answer.clock_us),
                        clock);
    }
    return {};
}

Status take_answers(ProbeTalk& talk, Instant began, LinkTally& tally) {
    while (true) {
        const auto message = TRY(talk.take());
        if (!message) return {};
        const auto* answer = std::get_if<ProbedMessage>(&*message);
        if (answer == nullptr)
            return fail(Code::kProtocol, "the target answers a probe with something else");
        tally.add_confirmed(monotonic_now() - began, answer->bytes);
    }
}

// Whether all of it was confirmed; else the time is over, and what was confirmed until then counts.
Result<bool> measure_speed(ProbeTalk& talk, Instant began, std::uint64_t bytes_max,
                           LinkTally& tally) {
    const ProbeMessage probe = full_probe();
    const std::uint64_t each = probe.filler.size() * sizeof(std::uint64_t);
    std::uint64_t queued = 0;
    while (queued + each <= bytes_max || tally.confirmed_bytes() < queued) {
        if (talk.all_sent() && queued + each <= bytes_max) {
            talk.queue(probe);
            queued += each;
        }
        if (!TRY(talk.exchange())) return false;
        TRY_STATUS(take_answers(talk, began, tally));
    }
    return true;
}

// Says hello, and hears what the other side can answer.
Result<HelloMessage> greet(ProbeTalk& talk) {
    talk.queue(HelloMessage{});
    const auto hello = TRY(talk.hear<HelloMessage>());
    TRY_STATUS(agree_version(HelloMessage{}, hello));
    return hello;
}

// That the target does not hear it any more would not matter.
void say_goodbye(ProbeTalk& talk) {
    talk.queue(ErrorMessage{.code = Code::kCancelled, .text = "what was asked is measured"});
    static_cast<void>(talk.exchange());
}

bool possible(std::uint64_t bytes, std::uint64_t microseconds, std::uint64_t waited_us) {
    if (bytes == 0) return true;
    return bytes <= wire::kDiskSampleBytesMax && microseconds != 0 && microseconds <= waited_us &&
           static_cast<double>(bytes) * 1e6 / static_cast<double>(microseconds) <
               kBytesPerSecondMax;
}

// What the system still has to send is not to fill a slow link when nobody asks any more.
void abandon(int socket) {
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    static_cast<void>(::setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
}

}  // namespace

void LinkTally::add_round(Duration sent, Duration heard, Duration their_clock, Duration our_clock) {
    const Duration took = heard - sent;
    if (round_trip_ && took >= *round_trip_) return;
    round_trip_ = took;
    clock_ahead_ = their_clock - (our_clock + took / 2);
}

void LinkTally::add_confirmed(Duration heard, std::uint64_t bytes) {
    confirmed_.push_back({heard, bytes});
}

std::optional<LinkFacts> LinkTally::facts() const {
    if (!round_trip_) return std::nullopt;
    LinkFacts facts{.round_trip = *round_trip_,
                    .clock_ahead = clock_ahead_,
                    .bytes_per_second = std::nullopt,
                    .bytes = confirmed_bytes()};
    if (confirmed_.size() < 2) return facts;
    const Confirmed& first = confirmed_.front();
    const Confirmed& last = confirmed_.back();
    const Duration middle = first.heard + (last.heard - first.heard) / 2;
    // The last that was heard in the first half: never the last of all, which ends the second.
    const auto half = std::prev(std::ranges::upper_bound(confirmed_.begin(), confirmed_.end() - 1,
                                                         middle, {}, &Confirmed::heard));
    const double took = seconds(last.heard - half->heard);
    if (took > 0) facts.bytes_per_second = static_cast<double>(last.bytes - half->bytes) / took;
    return facts;
}

Result<LinkFacts> probe_link(int socket, LinkProbeLimits limits) {
    const Instant began = monotonic_now();
    ProbeTalk talk(socket, began + limits.time_max);
    const auto hello = TRY(greet(talk));
    if ((hello.capabilities & wire::kCapProbe) == 0)
        return fail(Code::kUnsupported,
                    "the target's Towline cannot be asked how fast the link is; upgrade it");
    LinkTally tally;
    TRY_STATUS(measure_rounds(talk, began, tally));
    if (TRY(measure_speed(talk, began, limits.bytes_max, tally))) {
        say_goodbye(talk);
    } else {
        abandon(socket);
    }
    const auto facts = tally.facts();
    if (!facts) return std::unexpected(silent());
    return *facts;
}

Result<DiskSample> probe_disk(int socket, const std::string& name, Duration time_max) {
    const Instant began = monotonic_now();
    ProbeTalk talk(socket, began + time_max);
    const auto hello = TRY(greet(talk));
    if ((hello.capabilities & wire::kCapProbeDisk) == 0)
        return fail(Code::kUnsupported,
                    "the target's Towline cannot be asked how fast its disk is; upgrade it");
    talk.queue(ProbeDiskMessage{.name = name});
    const auto found = TRY(talk.hear<DiskProbedMessage>());
    say_goodbye(talk);
    if (!found.why_not.empty()) return fail(Code::kUnsupported, found.why_not);
    const auto waited = std::chrono::ceil<std::chrono::microseconds>(monotonic_now() - began);
    const auto waited_us = static_cast<std::uint64_t>(waited.count());
    if (!possible(found.written_bytes, found.written_us, waited_us) ||
        !possible(found.read_bytes, found.read_us, waited_us) ||
        (found.written_bytes == 0 && found.read_bytes == 0))
        return fail(Code::kProtocol, "what the target says of its disk cannot be");
    return DiskSample{.written_bytes = found.written_bytes,
                      .written_us = found.written_us,
                      .read_bytes = found.read_bytes,
                      .read_us = found.read_us};
}

}  // namespace towline
