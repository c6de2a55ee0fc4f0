// SPDX-License-Identifier: Apache-2.0
// Single acts upon disks, past the page cache: what busybox has not or does otherwise.
#include <linux/random.h>
#include <string_view>
#include <termios.h>
#include <vector>

#include "common.hpp"

namespace {

constexpr uint64_t kSignatureFirst = 1001;  // as rig/trace.py reads it

void transfer(const std::string& path, bool writing, uint64_t offset, uint64_t size, void* memory) {
    const int fd = open_or_die(path, O_DIRECT | (writing ? O_WRONLY : O_RDONLY));
    const auto at = static_cast<off_t>(offset);
    const ssize_t done = writing ? pwrite(fd, memory, size, at) : pread(fd, memory, size, at);
    if (done != static_cast<ssize_t>(size)) die("%s at %lu", path.c_str(), offset);
    close(fd);
}

// disk name DISK...: one read by which the host tells the disks apart in its trace.
void name(const std::vector<std::string>& words) {
    void* memory = aligned_memory(kSector);
    for (uint64_t at = 0; at < words.size(); ++at)
        transfer(words[at], false, (kSignatureFirst + 2 * at) * kSector, kSector, memory);
}

// disk mark N: one write to the disk of marks.
void mark(const std::vector<std::string>& words) {
    void* memory = aligned_memory(kSector);
    memset(memory, 0, kSector);
    transfer("/dev/disk/marks", true, number(words.at(0)) * kSector, kSector, memory);
}

// disk write DISK OFFSET LENGTH SEED
void write(const std::vector<std::string>& words) {
    const uint64_t size = number(words.at(2));
    void* memory = aligned_memory(size);
    Random(number(words.at(3))).fill(memory, size);
    transfer(words[0], true, number(words[1]), size, memory);
}

// disk range discard|zero|secure DISK OFFSET LENGTH
void range(const std::vector<std::string>& words) {
    const int fd = open_or_die(words.at(1), O_WRONLY | O_DIRECT);
    uint64_t span[2] = {number(words.at(2)), number(words.at(3))};
    if (span[1] == 0) span[1] = size_of(fd) - span[0];
    const unsigned long request = words[0] == "discard" ? BLKDISCARD
                                  : words[0] == "zero"  ? BLKZEROOUT
                                                        : BLKSECDISCARD;
    if (ioctl(fd, request, span) != 0) die("%s of %s", words[0].c_str(), words[1].c_str());
}

// disk trim FOLDER
void trim(const std::vector<std::string>& words) {
    const int fd = open_or_die(words.at(0), O_RDONLY | O_DIRECTORY);
    fstrim_range all = {0, UINT64_MAX, 0};
    if (ioctl(fd, FITRIM, &all) != 0) die("FITRIM");
    printf("trimmed %llu bytes\n", static_cast<unsigned long long>(all.len));
}

// disk copy FROM TO: all of it.
void copy(const std::vector<std::string>& words) {
    const int from = open_or_die(words.at(0), O_RDONLY | O_DIRECT);
    const int to = open_or_die(words.at(1), O_WRONLY | O_DIRECT);
    void* memory = aligned_memory(kMiB);
    for (ssize_t got = 0; (got = read(from, memory, kMiB)) != 0;)
        if (got < 0 || ::write(to, memory, static_cast<size_t>(got)) != got) die("copy");
}

// disk said: what was printed is on the console. A tty sends it a little later, and a reset or the
// power's end drops what it still has.
void said() {
    if (isatty(STDOUT_FILENO) != 0 && tcdrain(STDOUT_FILENO) != 0) die("tcdrain");
}

// disk chance HEX: what the kernel draws from now on hangs on it, too.
void chance(const std::vector<std::string>& words) {
    struct {
        int bits, bytes;
        char text[64];
    } entropy = {512, 64, {}};
    words.at(0).copy(entropy.text, sizeof entropy.text);
    const int fd = open_or_die("/dev/urandom", O_WRONLY);
    if (ioctl(fd, RNDADDENTROPY, &entropy) != 0) die("RNDADDENTROPY");
    if (ioctl(fd, RNDRESEEDCRNG) != 0) die("RNDRESEEDCRNG");
}

// disk crash: as sysrq b does; nothing is written, nobody is told.
void crash() {
    said();
    const int fd = open_or_die("/proc/sysrq-trigger", O_WRONLY);
    if (::write(fd, "b", 1) != 1) die("sysrq");
    pause();
}

}  // namespace

int main(int count, char** arguments) {
    const std::string_view verb = count > 1 ? arguments[1] : "";
    const std::vector<std::string> words(arguments + (count > 1 ? 2 : 1), arguments + count);
    if (verb == "name") return name(words), 0;
    if (verb == "mark") return mark(words), 0;
    if (verb == "write") return write(words), 0;
    if (verb == "range") return range(words), 0;
    if (verb == "trim") return trim(words), 0;
    if (verb == "copy") return copy(words), 0;
    if (verb == "said") return said(), 0;
    if (verb == "chance") return chance(words), 0;
    if (verb == "crash") return crash(), 0;
    fprintf(stderr, "disk name|mark|write|range|trim|copy|said|chance|crash ...\n");
    return 1;
}
