// SPDX-License-Identifier: Apache-2.0
// Proves a cut. Each stamper writes its number n to its ring of slots on the first device, waits
// for the completion, then to that on the second, waits, and goes on with n + 1. So whatever moment
// an image of both devices shows, the first is at most one ahead of the second, and in each ring
// every slot holds the last number that belongs there, whole.
//
//   stamper run FIRST SECOND STAMPERS        until SIGTERM
//   stamper check FIRST SECOND STAMPERS      prints how far each came
#include <algorithm>
#include <csignal>
#include <string_view>
#include <sys/wait.h>
#include <vector>

#include "common.hpp"

namespace {

constexpr uint64_t kSlots = 64;
constexpr uint64_t kSlotBytes = 12288;  // across chunks, blocks and pages
constexpr uint64_t kWords = kSlotBytes / sizeof(uint64_t);

volatile sig_atomic_t told_to_stop = 0;
constexpr uint64_t kStampersMax = 64;
pid_t children[kStampersMax];

uint64_t offset_of(uint64_t stamper, uint64_t number) {
    return (stamper * kSlots + number % kSlots) * kSlotBytes;
}

uint64_t word_of(uint64_t stamper, uint64_t number) {
    return number << 8 | stamper;
}

void stamp(int fd, void* memory, uint64_t stamper, uint64_t number) {
    auto* words = static_cast<uint64_t*>(memory);
    for (uint64_t at = 0; at < kWords; ++at)
        words[at] = word_of(stamper, number);
    const auto offset = static_cast<off_t>(offset_of(stamper, number));
    if (pwrite(fd, memory, kSlotBytes, offset) != static_cast<ssize_t>(kSlotBytes)) die("stamp");
}

void run_one(const char* first, const char* second, uint64_t stamper) {
    const int fds[2] = {open_or_die(first, O_WRONLY | O_DIRECT),
                        open_or_die(second, O_WRONLY | O_DIRECT)};
    void* memory = aligned_memory(kSlotBytes);
    for (uint64_t number = 0; number < kSlots; ++number)  // the rings, filled
        for (const int fd : fds)
            stamp(fd, memory, stamper, number);
    if (stamper == 0) printf("stamping\n");
    fflush(stdout);
    uint64_t number = kSlots;
    for (; told_to_stop == 0; ++number)
        for (const int fd : fds)
            stamp(fd, memory, stamper, number);
    printf("stamper %lu came to %lu\n", stamper, number - 1);
}

// Each child stops after the number that it is at.
void stop_children(int) {
    for (const pid_t child : children)
        if (child > 0) kill(child, SIGTERM);
}

int run(const char* first, const char* second, uint64_t stampers) {
    errno = EINVAL;
    if (stampers > kStampersMax) die("%lu stampers", stampers);
    for (uint64_t at = 0; at < stampers; ++at) {
        const pid_t child = fork();
        if (child < 0) die("fork");
        if (child == 0) {
            signal(SIGTERM, [](int) { told_to_stop = 1; });
            run_one(first, second, at);
            fflush(stdout);
            _exit(0);
        }
        children[at] = child;
    }
    signal(SIGTERM, stop_children);
    int failed = 0, status = 0;
    for (uint64_t at = 0; at < stampers; ++at) {
        if (wait(&status) < 0) die("wait");
        failed |= status != 0;
    }
    return failed;
}

// The newest number of the ring, when it is whole and without a gap.
uint64_t newest(int fd, const char* name, uint64_t stamper) {
    void* memory = aligned_memory(kSlotBytes);
    const auto* words = static_cast<const uint64_t*>(memory);
    std::vector<uint64_t> found(kSlots);
    uint64_t last = 0;
    for (uint64_t slot = 0; slot < kSlots; ++slot) {
        const auto offset = static_cast<off_t>(offset_of(stamper, slot));
        if (pread(fd, memory, kSlotBytes, offset) != static_cast<ssize_t>(kSlotBytes)) die("read");
        errno = EPROTO;
        found[slot] = words[0] >> 8;
        for (uint64_t at = 0; at < kWords; ++at)
            if (words[at] != word_of(stamper, found[slot]))
                die("cut: %s, stamper %lu: slot %lu is torn: %lu, then %lu", name, stamper, slot,
                    found[slot], words[at] >> 8);
        last = std::max(last, found[slot]);
    }
    for (uint64_t slot = 0; slot < kSlots; ++slot) {
        const uint64_t wanted = last - (last - slot) % kSlots;
        errno = EPROTO;
        if (found[slot] != wanted)
            die("cut: %s, stamper %lu: newest %lu, and slot %lu holds %lu, not %lu", name, stamper,
                last, slot, found[slot], wanted);
    }
    free(memory);
    return last;
}

int check(const char* first, const char* second, uint64_t stampers) {
    const int fds[2] = {open_or_die(first, O_RDONLY | O_DIRECT),
                        open_or_die(second, O_RDONLY | O_DIRECT)};
    printf("cut:");
    for (uint64_t at = 0; at < stampers; ++at) {
        const uint64_t ahead = newest(fds[0], first, at), behind = newest(fds[1], second, at);
        errno = EPROTO;
        if (behind > ahead || ahead > behind + 1)
            die("cut: stamper %lu: the first is at %lu, the second at %lu", at, ahead, behind);
        printf(" %lu/%lu", ahead, behind);
    }
    printf("\n");
    return 0;
}

}  // namespace

int main(int count, char** arguments) {
    errno = EINVAL;
    if (count != 5) die("stamper run|check FIRST SECOND STAMPERS");
    const bool running = std::string_view(arguments[1]) == "run";
    return (running ? run : check)(arguments[2], arguments[3], number(arguments[4]));
}
