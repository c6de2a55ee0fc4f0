// SPDX-License-Identifier: Apache-2.0
#pragma once

// What both ends of the floor stand on: one io_uring, one registered region cut into slots, one
// registered file and one registered socket. A yardstick has nobody to report to: whatever goes
// wrong ends the program with a sentence.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <sys/uio.h>
#include <vector>

#include <liburing.h>

#include "io/fd.hpp"

namespace floor_bench {

[[noreturn]] void die(const std::string& what, int error = 0);
// The value when it is not negative; otherwise the program ends with errno's text.
int must(int value, const std::string& what);

// A piece of the volume that crosses in one read, one place on the wire and one write.
struct Run {
    std::uint64_t offset_bytes = 0;
    std::uint64_t length_bytes = 0;
};

// What goes over the wire before the data of some runs. A fixed size, so that the other end can ask
// for it without knowing more. A count of 0 ends the stream.
constexpr std::size_t kBatchRunsMax = 16;
struct BatchHeader {
    std::uint64_t count = 0;
    Run runs[kBatchRunsMax];
};

// Which operation a completion belongs to; the slot goes in the low half.
enum class Op : std::uint32_t { kFile, kSocket };

class Ring {
  public:
    Ring(unsigned slot_count, std::size_t slot_bytes, int file);
    ~Ring();
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;

    bool has_free(std::size_t count) const { return free_.size() >= count; }
    // The slot that was given back last comes first: its memory is still in the cache.
    std::uint32_t take();
    void give_back(std::uint32_t slot) { free_.push_back(slot); }
    std::byte* at(std::uint32_t slot) const { return region_ + slot * slot_bytes_; }

    // The second file is the socket, or one to compare with. It comes later than the rest, so that
    // a server can prepare before it is called.
    void use_second(int file);

    void read_file(std::uint32_t slot, Run run);
    void read_second(std::uint32_t slot, Run run);
    void write_file(std::uint32_t slot, Run run);
    void send_all(const msghdr* message);
    void receive_all(msghdr* message);

    // Submits what was asked for, waits for at least one completion and hands on all that are
    // there: on_done(Op, slot, result), the result never negative.
    template <typename OnDone>
    void wait(OnDone&& on_done) {
        submit_and_wait();
        io_uring_cqe* cqe = nullptr;
        unsigned head = 0;
        unsigned seen = 0;
        io_uring_for_each_cqe(&ring_, head, cqe) {
            ++seen;
            if (cqe->res < 0) die("input or output failed", -cqe->res);
            const auto op = static_cast<Op>(cqe->user_data >> 32);
            on_done(op, static_cast<std::uint32_t>(cqe->user_data), cqe->res);
        }
        io_uring_cq_advance(&ring_, seen);
    }

  private:
    io_uring_sqe* next_sqe();
    void read_fixed(int file, std::uint32_t slot, Run run);
    void submit_and_wait();
    void start_ring(unsigned entries);
    void register_region(std::size_t bytes);

    io_uring ring_{};
    std::byte* region_ = nullptr;
    std::size_t region_bytes_ = 0;
    std::size_t slot_bytes_ = 0;
    bool buffers_registered_ = false;
    std::vector<std::uint32_t> free_;
};

struct FloorOptions {
    std::uint64_t merge_bytes = 512UL * 1024;
    unsigned depth = 32;
};

// A change list, "OFFSET LENGTH" a line, as runs: sorted, neighbours joined and cut at merge_bytes.
std::vector<Run> runs_of_list(const std::string& list_path, std::uint64_t merge_bytes);
// In the same form; overlaps are joined too.
std::vector<Run> joined(std::vector<Run> extents, std::uint64_t merge_bytes);
// Where the file has data, by SEEK_DATA and SEEK_HOLE, in the same form.
std::vector<Run> runs_of_data(int file, std::uint64_t merge_bytes);

int run_sender(const std::string& list_path, const std::string& source_path, std::uint16_t port,
               const FloorOptions& options);
int run_server(std::uint16_t port, const std::string& target_path, const FloorOptions& options);
int run_reader(const std::string& path, const FloorOptions& options);
int run_equal(const std::string& first_path, const std::string& second_path,
              const FloorOptions& options);

}  // namespace floor_bench
