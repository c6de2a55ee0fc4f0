// SPDX-License-Identifier: Apache-2.0
// Readers of an image against the copies that writes to its origin cause: the origin is filled with
// words that tell place and seed, and whatever is read of the image must be those, however late.
//
//   racer fill DEVICE SEED
//   racer check IMAGE SEED MILLISECONDS READERS [FIRST LENGTH: reads as zero]
#include <algorithm>
#include <ctime>
#include <string_view>
#include <sys/wait.h>

#include "common.hpp"

namespace {

constexpr uint64_t kReadMax = 256 * 1024;

uint64_t word_of(uint64_t seed, uint64_t offset) {
    return Random(seed ^ offset).next();
}

void fill(const char* path, uint64_t seed) {
    const int fd = open_or_die(path, O_WRONLY | O_DIRECT);
    const uint64_t size = size_of(fd);
    auto* words = static_cast<uint64_t*>(aligned_memory(kMiB));
    for (uint64_t at = 0; at < size; at += kMiB) {
        const uint64_t length = std::min(kMiB, size - at);
        for (uint64_t word = 0; word < length / 8; ++word)
            words[word] = word_of(seed, at + word * 8);
        if (pwrite(fd, words, length, static_cast<off_t>(at)) != static_cast<ssize_t>(length))
            die("fill");
    }
}

struct Zeroes {
    uint64_t first = 0, length = 0;
};

void check(const uint64_t* words, uint64_t at, uint64_t length, uint64_t seed, Zeroes zeroes) {
    for (uint64_t word = 0; word < length / 8; ++word) {
        const uint64_t offset = at + word * 8;
        const bool ours = offset - zeroes.first < zeroes.length;
        errno = EPROTO;
        if (words[word] != (ours ? 0 : word_of(seed, offset)))
            die("racer: the image differs at %lu, in a read of %lu at %lu", offset, length, at);
    }
}

uint64_t now_ms() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1000000;
}

// Now here, now there, and then all of it once.
void read_image(const char* path, uint64_t seed, uint64_t milliseconds, uint64_t reader,
                Zeroes zeroes) {
    const int fd = open_or_die(path, O_RDONLY | O_DIRECT);
    const uint64_t size = size_of(fd), end = now_ms() + milliseconds;
    auto* words = static_cast<uint64_t*>(aligned_memory(kReadMax));
    Random random(seed + reader + 1);
    uint64_t count = 0;
    const auto one = [&](uint64_t at, uint64_t length) {
        length = std::min(length, size - at);
        if (pread(fd, words, length, static_cast<off_t>(at)) != static_cast<ssize_t>(length))
            die("read of the image");
        check(words, at, length, seed, zeroes);
        ++count;
    };
    while (now_ms() < end)
        one(random.below(size / kSector) * kSector,
            (random.below(kReadMax / kSector) + 1) * kSector);
    for (uint64_t at = 0; at < size; at += kReadMax)
        one(at, kReadMax);
    printf("racer: %lu reads\n", count);
    fflush(stdout);
}

}  // namespace

int main(int count, char** arguments) {
    errno = EINVAL;
    if (count < 4) die("racer fill|check DEVICE SEED ...");
    if (std::string_view(arguments[1]) == "fill")
        return fill(arguments[2], number(arguments[3])), 0;
    if (count < 6) die("racer check IMAGE SEED MILLISECONDS READERS [FIRST LENGTH]");
    Zeroes zeroes;
    if (count > 7) zeroes = {number(arguments[6]), number(arguments[7])};
    const uint64_t readers = number(arguments[5]);
    for (uint64_t reader = 0; reader < readers; ++reader) {
        const pid_t child = fork();
        if (child < 0) die("fork");
        if (child != 0) continue;
        read_image(arguments[2], number(arguments[3]), number(arguments[4]), reader, zeroes);
        _exit(0);
    }
    int failed = 0, status = 0;
    for (uint64_t reader = 0; reader < readers; ++reader) {
        if (wait(&status) < 0) die("wait");
        failed |= status != 0;
    }
    return failed;
}
