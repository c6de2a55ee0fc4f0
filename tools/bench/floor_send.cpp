// SPDX-License-Identifier: Apache-2.0
// The floor's source end. Up to `depth` reads are under way; whatever has been read goes out in one
// sendmsg at a time, in the order in which it was read, straight from the registered slots. While
// that send is under way the reads go on. The reader for the scan's floor is the same without the
// socket.

#include <algorithm>
#include <arpa/inet.h>
#include <cstdio>
#include <deque>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "floor_ring.hpp"

namespace floor_bench {
namespace {

using towline::Fd;

// Enough to keep both ends busy, little enough that the data is still in the cache.
constexpr std::uint64_t kBatchBytesMax = 1024UL * 1024;
constexpr std::uint64_t kReaderRunBytes = 1024UL * 1024;

Fd connect_to(std::uint16_t port) {
    Fd socket(must(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "making a socket"));
    const int on = 1;
    must(setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
    sockaddr_in peer{};
    peer.sin_family = AF_INET;
    peer.sin_port = htons(port);
    peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    must(connect(socket.get(), reinterpret_cast<sockaddr*>(&peer), sizeof peer), "connecting");
    return socket;
}

class Sender {
  public:
    Sender(std::vector<Run> runs, int file, int socket, const FloorOptions& options)
        : runs_(std::move(runs)),
          slot_run_(std::size_t{options.depth} * 2),
          depth_(options.depth),
          ring_(slot_count(runs_.size(), options), longest(runs_), file) {
        ring_.use_second(socket);
    }

    void run() {
        while (next_ < runs_.size() || reading_ > 0 || !ready_.empty() || sending_) {
            start_reads();
            if (!sending_ && !ready_.empty()) start_send();
            ring_.wait([this](Op op, std::uint32_t slot, int result) { done(op, slot, result); });
        }
    }

    std::uint64_t sent_bytes() const { return sent_bytes_; }

  private:
    // No more memory than these runs can use: to clear and pin it is a good part of a short run.
    static unsigned slot_count(std::size_t run_count, const FloorOptions& options) {
        const std::size_t wanted = std::min(std::size_t{options.depth} * 2, run_count);
        return static_cast<unsigned>(std::max<std::size_t>(wanted, 1));
    }
    static std::size_t longest(const std::vector<Run>& runs) {
        std::size_t bytes = 4096;
        for (const Run& run : runs)
            bytes = std::max<std::size_t>(bytes, run.length_bytes);
        return bytes;
    }

    void start_reads() {
        while (next_ < runs_.size() && reading_ < depth_ && ring_.has_free(1)) {
            const std::uint32_t slot = ring_.take();
            slot_run_[slot] = runs_[next_++];
            ring_.read_file(slot, slot_run_[slot]);
            ++reading_;
        }
    }

    void start_send() {
        header_.count = 0;
        batch_.clear();
        iov_.assign(1, iovec{&header_, sizeof header_});
        batch_bytes_ = sizeof header_;
        while (!ready_.empty() && header_.count < kBatchRunsMax && batch_bytes_ < kBatchBytesMax) {
            const std::uint32_t slot = ready_.front();
            ready_.pop_front();
            header_.runs[header_.count++] = slot_run_[slot];
            iov_.push_back({ring_.at(slot), slot_run_[slot].length_bytes});
            batch_.push_back(slot);
            batch_bytes_ += slot_run_[slot].length_bytes;
        }
        message_ = {};
        message_.msg_iov = iov_.data();
        message_.msg_iovlen = iov_.size();
        ring_.send_all(&message_);
        sending_ = true;
    }

    void done(Op op, std::uint32_t slot, int result) {
        if (op == Op::kFile) {
            if (static_cast<std::uint64_t>(result) != slot_run_[slot].length_bytes)
                die("the source is shorter than its list");
            ready_.push_back(slot);
            --reading_;
            return;
        }
        if (static_cast<std::uint64_t>(result) != batch_bytes_) die("the target closed early");
        for (const std::uint32_t sent : batch_)
            ring_.give_back(sent);
        sent_bytes_ += batch_bytes_;
        sending_ = false;
    }

    std::vector<Run> runs_;
    std::vector<Run> slot_run_;
    std::size_t next_ = 0;
    unsigned reading_ = 0;
    unsigned depth_;
    std::deque<std::uint32_t> ready_;

    bool sending_ = false;
    BatchHeader header_;
    std::vector<std::uint32_t> batch_;
    std::vector<iovec> iov_;
    msghdr message_{};
    std::uint64_t batch_bytes_ = 0;
    std::uint64_t sent_bytes_ = 0;

    Ring ring_;
};

void await_durable(int socket) {
    const BatchHeader end;
    if (send(socket, &end, sizeof end, MSG_NOSIGNAL) != sizeof end) die("ending the stream", errno);
    char answer = 0;
    if (recv(socket, &answer, 1, 0) != 1) die("the target did not confirm");
}

}  // namespace

int run_sender(const std::string& list_path, const std::string& source_path, std::uint16_t port,
               const FloorOptions& options) {
    const Fd source(must(open(source_path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC), source_path));
    std::vector<Run> runs = list_path.empty() ? runs_of_data(source.get(), options.merge_bytes)
                                              : runs_of_list(list_path, options.merge_bytes);
    const Fd socket = connect_to(port);
    Sender sender(std::move(runs), source.get(), socket.get(), options);
    sender.run();
    await_durable(socket.get());
    std::printf("bytes_sent %llu\n", static_cast<unsigned long long>(sender.sent_bytes()));
    return 0;
}

int run_reader(const std::string& path, const FloorOptions& options) {
    const Fd file(must(open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC), path));
    const std::vector<Run> runs = runs_of_data(file.get(), kReaderRunBytes);
    Ring ring(options.depth, kReaderRunBytes, file.get());
    std::uint64_t read_bytes = 0;
    std::size_t finished = 0;
    for (std::size_t next = 0; finished < runs.size();) {
        for (; next < runs.size() && ring.has_free(1); ++next)
            ring.read_file(ring.take(), runs[next]);
        ring.wait([&](Op, std::uint32_t slot, int result) {
            read_bytes += static_cast<std::uint64_t>(result);
            ring.give_back(slot);
            ++finished;
        });
    }
    std::printf("bytes_read %llu\n", static_cast<unsigned long long>(read_bytes));
    return 0;
}

}  // namespace floor_bench
