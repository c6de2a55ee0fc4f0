// SPDX-License-Identifier: Apache-2.0
// A load of writes to a file or device: sizes, places and contents by a seed, in one of the ways in
// which programs write. What it has reported written has reached the device, and is flushed there.
//
//   writer PATH how=direct|buffered|mmap|aio|uring [seed=N] [count=N | seconds=N]
//          [min=512] [max=1M] [start=0] [span=0: all] [depth=8] [ranges=PERCENT] [pause_us=N]
//          [unflushed=1: leaves it in the disk's cache at the end]
//
// `ranges`: that many of a hundred acts are discards or write-zeroes instead (devices only).
#include <algorithm>
#include <csignal>
#include <ctime>
#include <memory>
#include <sys/mman.h>
#include <vector>

#include <libaio.h>
#include <liburing.h>

#include "common.hpp"

namespace {

struct Options {
    std::string path, how = "direct";
    uint64_t seed = 1, count = 0, seconds = 0, min = kSector, max = kMiB, start = 0, span = 0;
    uint64_t depth = 8, ranges = 0, pause_us = 0, unflushed = 0;
};

struct Act {
    uint64_t offset, size;
};

void set(Options& options, const std::string& key, const std::string& value) {
    if (key == "how")
        options.how = value;
    else if (key == "seed")
        options.seed = number(value);
    else if (key == "count")
        options.count = number(value);
    else if (key == "seconds")
        options.seconds = number(value);
    else if (key == "min")
        options.min = number(value);
    else if (key == "max")
        options.max = number(value);
    else if (key == "start")
        options.start = number(value);
    else if (key == "span")
        options.span = number(value);
    else if (key == "depth")
        options.depth = number(value);
    else if (key == "ranges")
        options.ranges = number(value);
    else if (key == "pause_us")
        options.pause_us = number(value);
    else if (key == "unflushed")
        options.unflushed = number(value);
    else
        errno = EINVAL, die("unknown option %s", key.c_str());
}

Options parse(int count, char** arguments) {
    Options options;
    if (count < 2) errno = EINVAL, die("writer PATH how=...");
    options.path = arguments[1];
    for (int at = 2; at < count; ++at) {
        const std::string word = arguments[at];
        const size_t equals = word.find('=');
        if (equals == std::string::npos) errno = EINVAL, die("not key=value: %s", word.c_str());
        set(options, word.substr(0, equals), word.substr(equals + 1));
    }
    return options;
}

// SIGTERM ends the load as its count or time does: what is under way is completed.
volatile sig_atomic_t told_to_stop = 0;

// Draws what to write next, until the count or the time is up.
class Plan {
  public:
    explicit Plan(const Options& options) : options_(options), random_(options.seed) {
        clock_gettime(CLOCK_MONOTONIC, &began_);
    }

    bool next(Act& act) {
        if (over()) return false;
        ++done_;
        if (options_.pause_us != 0) usleep(static_cast<useconds_t>(options_.pause_us));
        // Sizes evenly over the powers of two between the two bounds, then within them.
        uint64_t size = options_.min;
        while (size < options_.max && random_.below(3) != 0)
            size *= 2;
        size = std::min(size, options_.max);
        if (size > options_.min) size -= random_.below(size / 2 / options_.min) * options_.min;
        const uint64_t places = (options_.span - size) / options_.min + 1;
        act = {options_.start + random_.below(places) * options_.min, size};
        return true;
    }
    bool is_range() { return options_.ranges != 0 && random_.below(100) < options_.ranges; }
    Random& random() { return random_; }
    uint64_t done() const { return done_; }

  private:
    bool over() const {
        if (told_to_stop != 0) return true;
        if (options_.seconds == 0) return done_ >= options_.count;
        timespec now{};
        clock_gettime(CLOCK_MONOTONIC, &now);
        return static_cast<uint64_t>(now.tv_sec - began_.tv_sec) >= options_.seconds;
    }

    const Options& options_;
    Random random_;
    timespec began_{};
    uint64_t done_ = 0;
};

void run_range(int fd, Plan& plan, const Act& act) {
    uint64_t span[2] = {act.offset, act.size};
    const bool zero = plan.random().below(2) == 0;
    if (ioctl(fd, zero ? BLKZEROOUT : BLKDISCARD, span) != 0)
        die(zero ? "BLKZEROOUT" : "BLKDISCARD");
}

void run_plain(int fd, Plan& plan, const Options& options) {
    void* memory = aligned_memory(options.max);
    for (Act act{}; plan.next(act);) {
        if (plan.is_range()) {
            run_range(fd, plan, act);
            continue;
        }
        plan.random().fill(memory, act.size);
        if (pwrite(fd, memory, act.size, static_cast<off_t>(act.offset)) !=
            static_cast<ssize_t>(act.size))
            die("write of %lu at %lu", act.size, act.offset);
        // The kernel's own moments of writing back, and sometimes ours.
        if (options.how == "buffered" && plan.random().below(64) == 0 && fdatasync(fd) != 0)
            die("fdatasync");
    }
}

void run_mmap(int fd, Plan& plan, const Options& options) {
    const uint64_t size = options.start + options.span;
    void* mapped = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) die("mmap");
    auto* bytes = static_cast<char*>(mapped);
    for (Act act{}; plan.next(act);) {
        plan.random().fill(bytes + act.offset, act.size);
        if (plan.random().below(16) != 0) continue;
        const uint64_t page = act.offset & ~4095UL;
        if (msync(bytes + page, act.offset + act.size - page, MS_SYNC) != 0) die("msync");
    }
    if (msync(mapped, size, MS_SYNC) != 0) die("msync");
}

void run_aio(int fd, Plan& plan, const Options& options) {
    io_context_t context = nullptr;
    if (io_setup(static_cast<int>(options.depth), &context) < 0) die("io_setup");
    std::vector<iocb> blocks(options.depth);
    std::vector<void*> memory(options.depth);
    std::vector<uint64_t> free_slots;
    for (uint64_t at = 0; at < options.depth; ++at) {
        memory[at] = aligned_memory(options.max);
        free_slots.push_back(at);
    }
    Act act{};
    bool more = plan.next(act);
    while (more || free_slots.size() < options.depth) {
        while (more && !free_slots.empty()) {
            const uint64_t slot = free_slots.back();
            free_slots.pop_back();
            plan.random().fill(memory[slot], act.size);
            io_prep_pwrite(&blocks[slot], fd, memory[slot], act.size,
                           static_cast<long long>(act.offset));
            iocb* block = &blocks[slot];
            if (io_submit(context, 1, &block) != 1) die("io_submit");
            more = plan.next(act);
        }
        io_event event{};
        int got = 0;
        while ((got = io_getevents(context, 1, 1, &event, nullptr)) == -EINTR) {
        }
        if (got != 1) die("io_getevents: %d", got);
        errno = EIO;
        if (event.res != event.obj->u.c.nbytes) die("aio of %lu", event.obj->u.c.nbytes);
        free_slots.push_back(static_cast<uint64_t>(event.obj - blocks.data()));
    }
}

void run_uring(int fd, Plan& plan, const Options& options) {
    io_uring ring{};
    if (io_uring_queue_init(static_cast<unsigned>(options.depth), &ring, 0) != 0) die("io_uring");
    std::vector<void*> memory(options.depth);
    std::vector<uint64_t> sizes(options.depth), free_slots;
    for (uint64_t at = 0; at < options.depth; ++at) {
        memory[at] = aligned_memory(options.max);
        free_slots.push_back(at);
    }
    Act act{};
    bool more = plan.next(act);
    while (more || free_slots.size() < options.depth) {
        while (more && !free_slots.empty()) {
            const uint64_t slot = free_slots.back();
            free_slots.pop_back();
            plan.random().fill(memory[slot], act.size);
            sizes[slot] = act.size;
            io_uring_sqe* entry = io_uring_get_sqe(&ring);
            io_uring_prep_write(entry, fd, memory[slot], static_cast<unsigned>(act.size),
                                act.offset);
            // Some must not wait, as databases ask for: EAGAIN is theirs to try again.
            if (plan.random().below(4) == 0) entry->flags |= IOSQE_ASYNC;
            io_uring_sqe_set_data64(entry, slot);
            more = plan.next(act);
        }
        if (io_uring_submit(&ring) < 0) die("io_uring_submit");
        io_uring_cqe* completion = nullptr;
        int waited = 0;
        while ((waited = io_uring_wait_cqe(&ring, &completion)) == -EINTR) {
        }
        if (waited != 0) die("io_uring_wait_cqe: %d", waited);
        const uint64_t slot = io_uring_cqe_get_data64(completion);
        errno = EIO;
        if (completion->res != static_cast<int>(sizes[slot]))
            die("uring write: %d", completion->res);
        io_uring_cqe_seen(&ring, completion);
        free_slots.push_back(slot);
    }
    io_uring_queue_exit(&ring);
}

int open_target(Options& options) {
    const bool direct = options.how != "buffered" && options.how != "mmap";
    struct stat status {};
    const bool device = stat(options.path.c_str(), &status) == 0 && S_ISBLK(status.st_mode);
    const int fd =
        open_or_die(options.path, O_RDWR | (device ? 0 : O_CREAT) | (direct ? O_DIRECT : 0));
    if (!device && options.span == 0) errno = EINVAL, die("a file wants a span");
    if (options.span == 0) options.span = size_of(fd) - options.start;
    if (!device && size_of(fd) < options.start + options.span &&
        ftruncate(fd, static_cast<off_t>(options.start + options.span)) != 0)
        die("ftruncate");
    options.max = std::min(options.max, options.span);
    return fd;
}

}  // namespace

int main(int count, char** arguments) {
    signal(SIGTERM, [](int) { told_to_stop = 1; });
    Options options = parse(count, arguments);
    const int fd = open_target(options);
    Plan plan(options);
    if (options.how == "mmap")
        run_mmap(fd, plan, options);
    else if (options.how == "aio")
        run_aio(fd, plan, options);
    else if (options.how == "uring")
        run_uring(fd, plan, options);
    else
        run_plain(fd, plan, options);
    if (options.unflushed == 0 && fsync(fd) != 0) die("fsync");
    printf("%s: %lu %s writes\n", options.path.c_str(), plan.done(), options.how.c_str());
    return 0;
}
