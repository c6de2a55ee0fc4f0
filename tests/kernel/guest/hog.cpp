// SPDX-License-Identifier: Apache-2.0
// Wants more memory than there is: fills it page by page, again and again, and finds in each page
// what it left there, wherever it has been meanwhile.
//
//   hog MEBIBYTES ROUNDS
#include <sys/mman.h>

#include "common.hpp"

int main(int count, char** arguments) {
    errno = EINVAL;
    if (count != 3) die("hog MEBIBYTES ROUNDS");
    const uint64_t pages = number(arguments[1]) * kMiB / 4096, rounds = number(arguments[2]);
    void* mapped =
        mmap(nullptr, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) die("mmap");
    auto* words = static_cast<volatile uint64_t*>(mapped);
    for (uint64_t round = 1; round <= rounds; ++round) {
        for (uint64_t page = 0; page < pages; ++page) {
            const uint64_t at = page * 512;
            errno = EIO;
            if (round > 1 &&
                (words[at] != ((round - 1) << 32 | page) || words[at + 511] != ~words[at]))
                die("page %lu in round %lu: %lx", page, round, words[at]);
            words[at] = round << 32 | page;
            words[at + 511] = ~words[at];
        }
    }
    printf("hog: %lu pages, %lu rounds\n", pages, rounds);
    return 0;
}
