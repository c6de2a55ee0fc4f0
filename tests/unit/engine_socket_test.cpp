// SPDX-License-Identifier: Apache-2.0
// Streams through the engines: every byte once and in order, however the transfers are cut, and an
// end of waiting when a socket is shut down.

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <netinet/in.h>
#include <sys/socket.h>

#include "engine_fixture.hpp"

namespace towline {
namespace {

struct Pair {
    Fd near, far;
};

Pair unix_pair() {
    int fds[2];
    CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    return {Fd(fds[0]), Fd(fds[1])};
}

Pair tcp_pair() {
    const Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* raw = reinterpret_cast<sockaddr*>(&address);
    CHECK(::bind(listener.get(), raw, length) == 0 && ::listen(listener.get(), 1) == 0);
    CHECK(::getsockname(listener.get(), raw, &length) == 0);
    Fd near(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    CHECK(::connect(near.get(), raw, length) == 0);
    Fd far(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    CHECK(static_cast<bool>(far));
    return {std::move(near), std::move(far)};
}

// Sends all bytes in messages of two pieces, as a connection does with a header and its block.
class Sender {
  public:
    Sender(IoEngine& engine, Handle socket, ByteSpan bytes)
        : engine_(engine), socket_(socket), rest_(bytes) {
        done_.on_done([this](std::int64_t result) {
            ASSERT_GT(result, 0);
            rest_ = rest_.subspan(static_cast<std::size_t>(result));
            next();
        });
        next();
    }
    bool finished() const { return rest_.empty(); }

  private:
    void next() {
        if (rest_.empty()) return;
        const std::size_t head = std::min<std::size_t>(rest_.size(), 48);
        const std::size_t body = std::min<std::size_t>(rest_.size() - head, 1 << 20);
        auto* base = const_cast<std::byte*>(rest_.data());
        pieces_ = {iovec{base, head}, iovec{base + head, body}};
        message_.msg_iov = pieces_.data();
        message_.msg_iovlen = pieces_.size();
        engine_.send(socket_, &message_, done_);
    }
    IoEngine& engine_;
    Handle socket_;
    ByteSpan rest_;
    std::array<iovec, 2> pieces_{};
    msghdr message_{};
    Completion done_;
};

// Receives into a vector until the end of the stream, in pieces of an odd size.
class Receiver {
  public:
    Receiver(IoEngine& engine, Handle socket) : engine_(engine), socket_(socket) {
        done_.on_done([this](std::int64_t result) {
            last_ = result;
            ended_ = result <= 0;
            if (ended_) return;
            bytes_.insert(bytes_.end(), piece_.begin(), piece_.begin() + result);
            next();
        });
        next();
    }
    bool ended() const { return ended_; }
    std::int64_t last() const { return last_; }
    const std::vector<std::byte>& bytes() const { return bytes_; }

  private:
    void next() {
        whole_ = {piece_.data(), piece_.size()};
        message_ = {};
        message_.msg_iov = &whole_;
        message_.msg_iovlen = 1;
        engine_.receive(socket_, &message_, ReceiveMode::kSome, done_);
    }
    IoEngine& engine_;
    Handle socket_;
    std::vector<std::byte> piece_ = std::vector<std::byte>(77777);
    std::vector<std::byte> bytes_;
    iovec whole_{};
    msghdr message_{};
    Completion done_;
    std::int64_t last_ = 0;
    bool ended_ = false;
};

class EngineSocketTest : public EngineTest {
  protected:
    // Both ways at once.
    void exchange(const Pair& pair) {
        const Handle near = attach(pair.near);
        const Handle far = attach(pair.far);
        std::vector<std::byte> out(9'000'001), back(5'000'003);
        fill_noise(out, 1);
        fill_noise(back, 2);
        Receiver far_in(*engine_, far), near_in(*engine_, near);
        const Sender near_out(*engine_, near, out);
        const Sender far_out(*engine_, far, back);
        run_until([&] {
            return far_in.bytes().size() == out.size() && near_in.bytes().size() == back.size() &&
                   near_out.finished() && far_out.finished();
        });
        EXPECT_EQ(far_in.bytes(), out);
        EXPECT_EQ(near_in.bytes(), back);
        engine_->shut_down(near);
        engine_->shut_down(near);
        drain();
        EXPECT_TRUE(far_in.ended() && near_in.ended());
        engine_->detach(near);
        engine_->detach(far);
    }
};

TEST_P(EngineSocketTest, CarriesMegabytesOverAUnixSocket) {
    exchange(unix_pair());
}

TEST_P(EngineSocketTest, CarriesMegabytesOverTcp) {
    exchange(tcp_pair());
}

TEST_P(EngineSocketTest, CarriesThemOverNonBlockingSockets) {
    const Pair pair = tcp_pair();
    CHECK(::fcntl(pair.near.get(), F_SETFL, O_NONBLOCK) == 0);
    CHECK(::fcntl(pair.far.get(), F_SETFL, O_NONBLOCK) == 0);
    exchange(pair);
}

TEST_P(EngineSocketTest, ManyPairsAtOnce) {
    std::vector<Pair> pairs;
    std::vector<std::unique_ptr<Receiver>> receivers;
    std::vector<std::unique_ptr<Sender>> senders;
    std::vector<std::byte> out(1'500'000);
    fill_noise(out, 3);
    for (int i = 0; i < 100; ++i) {
        pairs.push_back(unix_pair());
        receivers.push_back(std::make_unique<Receiver>(*engine_, attach(pairs.back().far)));
        senders.push_back(std::make_unique<Sender>(*engine_, attach(pairs.back().near), out));
    }
    run_until([&] {
        return std::ranges::all_of(senders, [](const auto& sender) { return sender->finished(); });
    });
    for (const Pair& pair : pairs)
        ::shutdown(pair.near.get(), SHUT_WR);
    drain();
    for (const auto& receiver : receivers)
        EXPECT_EQ(receiver->bytes(), out);
}

TEST_P(EngineSocketTest, ShutDownEndsAWaitingReceive) {
    for (const Pair& pair : {unix_pair(), tcp_pair()}) {
        const Handle near = attach(pair.near);
        const Receiver waiting(*engine_, near);
        Outcome turn;  // so that the receive is under way
        engine_->wait_until(engine_->now() + 2ms, turn.done);
        EXPECT_EQ(result_of(turn), 0);
        EXPECT_FALSE(waiting.ended());
        engine_->shut_down(near);
        drain();
        EXPECT_LE(waiting.last(), 0);
        EXPECT_TRUE(waiting.ended());
    }
}

TEST_P(EngineSocketTest, ShutDownEndsAWaitingSend) {
    const Pair pair = tcp_pair();
    const Handle near = attach(pair.near);
    std::vector<std::byte> much(64 << 20);
    iovec whole{much.data(), much.size()};
    msghdr message{};
    message.msg_iov = &whole;
    message.msg_iovlen = 1;
    Outcome sent;
    for (sent.result = 1; sent.result > 0;) {  // until it stands still
        sent.count = 0;
        engine_->send(near, &message, sent.done);
        Outcome turn;
        engine_->wait_until(engine_->now() + 50ms, turn.done);
        EXPECT_EQ(result_of(turn), 0);
        if (sent.count == 0) break;
    }
    ASSERT_EQ(sent.count, 0);
    engine_->shut_down(near);
    drain();
    EXPECT_EQ(sent.result, -EPIPE);
}

// No signal ends the process, and the error says what happened.
TEST_P(EngineSocketTest, SendToAPeerThatWentAwayFails) {
    Pair pair = unix_pair();
    const Handle near = attach(pair.near);
    pair.far.reset();
    std::byte one{1};
    iovec whole{&one, 1};
    msghdr message{};
    message.msg_iov = &whole;
    message.msg_iovlen = 1;
    Outcome sent;
    engine_->send(near, &message, sent.done);
    EXPECT_EQ(result_of(sent), -EPIPE);
}

TOWLINE_OVER_ENGINES(EngineSocketTest);

}  // namespace
}  // namespace towline
