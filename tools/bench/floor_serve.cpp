// SPDX-License-Identifier: Apache-2.0
// The floor's target end: one session, then the program ends. A header is received, then the data
// of all its runs in one recvmsg into registered slots, then each slot is written while the next
// batch arrives. One fdatasync at the end, and one byte to say that it is done.

#include <arpa/inet.h>
#include <cstdio>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "floor_ring.hpp"

namespace floor_bench {
namespace {

using towline::Fd;

Fd accept_one(std::uint16_t port) {
    const Fd listener(must(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "making a socket"));
    const int on = 1;
    must(setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "SO_REUSEADDR");
    sockaddr_in own{};
    own.sin_family = AF_INET;
    own.sin_port = htons(port);
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    must(bind(listener.get(), reinterpret_cast<sockaddr*>(&own), sizeof own), "binding the port");
    must(listen(listener.get(), 1), "listening");
    std::puts("listening");
    std::fflush(stdout);
    return Fd(must(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC), "accepting"));
}

class Receiver {
  public:
    Receiver(int file, const FloorOptions& options)
        : slot_run_(slot_count(options)),
          slot_bytes_(options.merge_bytes),
          ring_(slot_count(options), options.merge_bytes, file) {}

    void run(int socket) {
        ring_.use_second(socket);
        receive_header();
        while (state_ != State::kEnded || writing_ > 0) {
            if (state_ == State::kWaitForSlots && ring_.has_free(header_.count)) receive_data();
            ring_.wait([this](Op op, std::uint32_t slot, int result) { done(op, slot, result); });
        }
    }

  private:
    enum class State { kHeader, kWaitForSlots, kData, kEnded };

    static unsigned slot_count(const FloorOptions& options) {
        return options.depth + 2 * static_cast<unsigned>(kBatchRunsMax);
    }

    void receive(std::uint64_t bytes) {
        expected_bytes_ = bytes;
        message_ = {};
        message_.msg_iov = iov_.data();
        message_.msg_iovlen = iov_.size();
        ring_.receive_all(&message_);
    }

    void receive_header() {
        state_ = State::kHeader;
        iov_.assign(1, iovec{&header_, sizeof header_});
        receive(sizeof header_);
    }

    void receive_data() {
        state_ = State::kData;
        iov_.clear();
        batch_.clear();
        std::uint64_t bytes = 0;
        for (const Run& run : std::span(header_.runs, header_.count)) {
            const std::uint32_t slot = ring_.take();
            slot_run_[slot] = run;
            batch_.push_back(slot);
            iov_.push_back({ring_.at(slot), run.length_bytes});
            bytes += run.length_bytes;
        }
        receive(bytes);
    }

    void done(Op op, std::uint32_t slot, int result) {
        const auto bytes = static_cast<std::uint64_t>(result);
        if (op == Op::kFile) {
            if (bytes != slot_run_[slot].length_bytes) die("a short write");
            ring_.give_back(slot);
            --writing_;
        } else if (bytes != expected_bytes_) {
            die("the source closed early");
        } else if (state_ == State::kHeader) {
            header_received();
        } else {
            data_received();
        }
    }

    void header_received() {
        if (header_.count > kBatchRunsMax) die("a header is damaged");
        for (const Run& run : std::span(header_.runs, header_.count))
            if (run.length_bytes > slot_bytes_) die("a run is longer than a slot: --merge differs");
        state_ = header_.count == 0 ? State::kEnded : State::kWaitForSlots;
    }

    void data_received() {
        for (const std::uint32_t slot : batch_)
            ring_.write_file(slot, slot_run_[slot]);
        writing_ += batch_.size();
        receive_header();
    }

    std::vector<Run> slot_run_;
    std::uint64_t slot_bytes_;
    State state_ = State::kHeader;
    std::size_t writing_ = 0;
    BatchHeader header_;
    std::vector<std::uint32_t> batch_;
    std::vector<iovec> iov_;
    msghdr message_{};
    std::uint64_t expected_bytes_ = 0;

    Ring ring_;
};

}  // namespace

int run_server(std::uint16_t port, const std::string& target_path, const FloorOptions& options) {
    const Fd target(must(open(target_path.c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC), target_path));
    Receiver receiver(target.get(), options);
    const Fd socket = accept_one(port);
    const int on = 1;
    must(setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
    receiver.run(socket.get());
    must(fdatasync(target.get()), "flushing the target");
    const char durable = 1;
    if (send(socket.get(), &durable, 1, MSG_NOSIGNAL) != 1) die("confirming", errno);
    return 0;
}

}  // namespace floor_bench
