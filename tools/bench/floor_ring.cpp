// SPDX-License-Identifier: Apache-2.0
// The ring under the floor. Registered buffers and files spare the kernel the pinning and the
// look-up of every operation; where the memory lock limit forbids registering, plain operations
// serve and a line on standard error says so, since the floor is then no longer the lowest.

#include "floor_ring.hpp"

#include <cerrno>
#include <cstdio>
#include <sys/mman.h>
#include <system_error>
#include <unistd.h>

namespace floor_bench {
namespace {

constexpr int kFixedFile = 0;
constexpr int kFixedSecond = 1;
constexpr std::size_t kHugePageBytes = 2UL * 1024 * 1024;

// After the prep call, which clears both fields.
void finish(io_uring_sqe* sqe, Op op, std::uint32_t slot) {
    sqe->user_data = static_cast<std::uint64_t>(op) << 32 | slot;
    io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
}

}  // namespace

void die(const std::string& what, int error) {
    const std::string why = error != 0 ? ": " + std::system_category().message(error) : "";
    std::fprintf(stderr, "floor: %s%s\n", what.c_str(), why.c_str());
    _exit(1);
}

int must(int value, const std::string& what) {
    if (value < 0) die(what, errno);
    return value;
}

Ring::Ring(unsigned slot_count, std::size_t slot_bytes, int file) : slot_bytes_(slot_bytes) {
    start_ring(slot_count * 2);
    register_region(slot_count * slot_bytes);
    const int files[] = {file, -1};
    const int registered = io_uring_register_files(&ring_, files, 2);
    if (registered < 0) die("registering the files", -registered);
    for (std::uint32_t slot = slot_count; slot > 0; --slot)
        free_.push_back(slot - 1);
}

Ring::~Ring() {
    io_uring_queue_exit(&ring_);
    munmap(region_, region_bytes_);
}

void Ring::start_ring(unsigned entries) {
    const unsigned best = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    int started = io_uring_queue_init(entries, &ring_, best);
    if (started == -EINVAL) started = io_uring_queue_init(entries, &ring_, 0);
    if (started < 0) die("starting io_uring", -started);
    io_uring_register_ring_fd(&ring_);
}

void Ring::register_region(std::size_t bytes) {
    region_bytes_ = (bytes + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
    void* region =
        mmap(nullptr, region_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (region == MAP_FAILED) die("memory for the slots", errno);
    region_ = static_cast<std::byte*>(region);
    madvise(region_, region_bytes_, MADV_HUGEPAGE);
    const iovec whole{region_, region_bytes_};
    buffers_registered_ = io_uring_register_buffers(&ring_, &whole, 1) == 0;
    if (!buffers_registered_)
        std::fprintf(stderr, "floor: the buffers could not be registered (ulimit -l)\n");
}

void Ring::use_second(int file) {
    const int updated = io_uring_register_files_update(&ring_, kFixedSecond, &file, 1);
    if (updated < 0) die("registering the second file", -updated);
}

std::uint32_t Ring::take() {
    const std::uint32_t slot = free_.back();
    free_.pop_back();
    return slot;
}

io_uring_sqe* Ring::next_sqe() {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    if (sqe == nullptr) die("the submission queue is full");
    return sqe;
}

void Ring::read_file(std::uint32_t slot, Run run) {
    read_fixed(kFixedFile, slot, run);
}

void Ring::read_second(std::uint32_t slot, Run run) {
    read_fixed(kFixedSecond, slot, run);
}

void Ring::read_fixed(int file, std::uint32_t slot, Run run) {
    io_uring_sqe* sqe = next_sqe();
    const auto length = static_cast<unsigned>(run.length_bytes);
    if (buffers_registered_)
        io_uring_prep_read_fixed(sqe, file, at(slot), length, run.offset_bytes, 0);
    else
        io_uring_prep_read(sqe, file, at(slot), length, run.offset_bytes);
    finish(sqe, Op::kFile, slot);
}

void Ring::write_file(std::uint32_t slot, Run run) {
    io_uring_sqe* sqe = next_sqe();
    const auto length = static_cast<unsigned>(run.length_bytes);
    if (buffers_registered_)
        io_uring_prep_write_fixed(sqe, kFixedFile, at(slot), length, run.offset_bytes, 0);
    else
        io_uring_prep_write(sqe, kFixedFile, at(slot), length, run.offset_bytes);
    finish(sqe, Op::kFile, slot);
}

void Ring::send_all(const msghdr* message) {
    io_uring_sqe* sqe = next_sqe();
    io_uring_prep_sendmsg(sqe, kFixedSecond, message, MSG_WAITALL | MSG_NOSIGNAL);
    finish(sqe, Op::kSocket, 0);
}

void Ring::receive_all(msghdr* message) {
    io_uring_sqe* sqe = next_sqe();
    io_uring_prep_recvmsg(sqe, kFixedSecond, message, MSG_WAITALL);
    finish(sqe, Op::kSocket, 0);
}

void Ring::submit_and_wait() {
    const int submitted = io_uring_submit_and_wait(&ring_, 1);
    if (submitted < 0 && submitted != -EINTR) die("waiting on the ring", -submitted);
}

}  // namespace floor_bench
