// SPDX-License-Identifier: Apache-2.0
// What the guest's programs share: they stop at the first thing that goes wrong, and say it.
#pragma once

#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/fs.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

inline constexpr uint64_t kSector = 512;
inline constexpr uint64_t kMiB = 1024 * 1024;

[[noreturn, gnu::format(printf, 1, 2)]] inline void die(const char* format, ...) {
    const int error = errno;
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, ": %s\n", strerror(error));
    exit(1);
}

inline int open_or_die(const std::string& path, int flags) {
    const int fd = open(path.c_str(), flags | O_CLOEXEC, 0600);
    if (fd < 0) die("open %s", path.c_str());
    return fd;
}

// Of a device or of a file.
inline uint64_t size_of(int fd) {
    struct stat status {};
    if (fstat(fd, &status) != 0) die("fstat");
    if (!S_ISBLK(status.st_mode)) return static_cast<uint64_t>(status.st_size);
    uint64_t size = 0;
    if (ioctl(fd, BLKGETSIZE64, &size) != 0) die("BLKGETSIZE64");
    return size;
}

// Numbers may end with K or M.
inline uint64_t number(const std::string& text) {
    char* end = nullptr;
    errno = EINVAL;
    const uint64_t value = strtoull(text.c_str(), &end, 0);
    if (end == text.c_str()) die("not a number: %s", text.c_str());
    if (*end == 'K') return value * 1024;
    if (*end == 'M') return value * kMiB;
    if (*end != '\0') die("not a number: %s", text.c_str());
    return value;
}

inline void* aligned_memory(uint64_t size) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 4096, size) != 0) die("posix_memalign");
    return memory;
}

// splitmix64: the same from the same seed, on every kernel.
class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed) {}

    uint64_t next() {
        uint64_t value = (state_ += 0x9E3779B97F4A7C15U);
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9U;
        value = (value ^ (value >> 27)) * 0x94D049BB133111EBU;
        return value ^ (value >> 31);
    }
    uint64_t below(uint64_t end) { return next() % end; }

    // Every eighth byte drawn, the rest follow: new content for each write, cheaply.
    void fill(void* memory, uint64_t size) {
        const uint64_t first = next();
        auto* words = static_cast<uint64_t*>(memory);
        for (uint64_t at = 0; at < size / sizeof(uint64_t); ++at)
            words[at] = first + at;
    }

  private:
    uint64_t state_;
};
