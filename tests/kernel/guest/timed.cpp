// SPDX-License-Identifier: Apache-2.0
// How long a 4 KiB direct write takes, all else being equal: the same blocks in the same order at
// every call. For tools/bench/kernel-cost, where time is the count of instructions.
//
//   timed DEVICE fill|psync|uring COUNT SPAN: prints "ns_per_write=N"
#include <ctime>
#include <string_view>

#include <liburing.h>

#include "common.hpp"

namespace {

constexpr uint64_t kBlock = 4096;
constexpr unsigned kDepth = 8;

uint64_t now_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1000000000U + static_cast<uint64_t>(now.tv_nsec);
}

// Each block of the span once, so that a device in memory has it and a snapshot has kept it.
void fill(int fd, void* memory, uint64_t blocks) {
    for (uint64_t block = 0; block < blocks; ++block)
        if (pwrite(fd, memory, kBlock, static_cast<off_t>(block * kBlock)) != kBlock) die("fill");
}

void psync(int fd, void* memory, uint64_t count, uint64_t blocks) {
    Random random(1);
    for (uint64_t at = 0; at < count; ++at) {
        const auto offset = static_cast<off_t>(random.below(blocks) * kBlock);
        if (pwrite(fd, memory, kBlock, offset) != kBlock) die("write");
    }
}

void uring(int fd, void* memory, uint64_t count, uint64_t blocks) {
    Random random(1);
    io_uring ring{};
    if (io_uring_queue_init(kDepth, &ring, 0) != 0) die("io_uring");
    uint64_t begun = 0, ended = 0;
    while (ended < count) {
        for (; begun < count && begun - ended < kDepth; ++begun) {
            io_uring_sqe* entry = io_uring_get_sqe(&ring);
            io_uring_prep_write(entry, fd, memory, kBlock, random.below(blocks) * kBlock);
        }
        if (io_uring_submit_and_wait(&ring, 1) < 0) die("submit");
        unsigned head = 0, seen = 0;
        io_uring_cqe* completion = nullptr;
        io_uring_for_each_cqe(&ring, head, completion) {
            errno = EIO;
            if (completion->res != static_cast<int>(kBlock)) die("write: %d", completion->res);
            ++seen;
        }
        io_uring_cq_advance(&ring, seen);
        ended += seen;
    }
    io_uring_queue_exit(&ring);
}

}  // namespace

int main(int argument_count, char** arguments) {
    errno = EINVAL;
    if (argument_count != 5) die("timed DEVICE fill|psync|uring COUNT SPAN");
    const std::string_view how = arguments[2];
    const uint64_t count = number(arguments[3]), blocks = number(arguments[4]) / kBlock;
    const int fd = open_or_die(arguments[1], O_WRONLY | O_DIRECT);
    void* memory = aligned_memory(kBlock);
    Random(2).fill(memory, kBlock);
    const uint64_t began = now_ns();
    if (how == "fill")
        fill(fd, memory, blocks);
    else
        (how == "uring" ? uring : psync)(fd, memory, count, blocks);
    printf("ns_per_write=%.2f\n",
           static_cast<double>(now_ns() - began) / static_cast<double>(count));
    return 0;
}
