// SPDX-License-Identifier: Apache-2.0
// The floor: the least that bringing known changes over one TCP hop can cost. A list, direct reads
// into registered buffers, one hop, direct writes, one flush; no check, no digest, no record, no
// safety. Nothing that keeps the promises of a replication tool can be faster for the same disk and
// socket, so the distance to it is what those promises cost.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <unistd.h>
#include <vector>

#include "floor_ring.hpp"

namespace {

constexpr const char* kUsage =
    "usage: floor [--merge BYTES] [--depth N] serve PORT TARGET\n"
    "       floor [--merge BYTES] [--depth N] send LIST SOURCE PORT\n"
    "       floor [--merge BYTES] [--depth N] send --full SOURCE PORT\n"
    "       floor [--depth N] read FILE\n"
    "       floor [--depth N] equal FILE FILE\n";

[[noreturn]] void usage() {
    std::fputs(kUsage, stderr);
    _exit(2);
}

std::uint64_t number(const char* text, std::uint64_t least, std::uint64_t most) {
    char* end = nullptr;
    const unsigned long long value = std::strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value < least || value > most) usage();
    return value;
}

std::uint16_t port_of(const std::string& text) {
    return static_cast<std::uint16_t>(number(text.c_str(), 1, 65535));
}

// Takes the leading options off; what remains are the words of the command.
floor_bench::FloorOptions take_options(std::vector<std::string>& words) {
    floor_bench::FloorOptions options;
    while (words.size() >= 2 && words[0].starts_with("--")) {
        if (words[0] == "--merge")
            options.merge_bytes = number(words[1].c_str(), 4096, 16 << 20) / 4096 * 4096;
        else if (words[0] == "--depth")
            options.depth = static_cast<unsigned>(number(words[1].c_str(), 1, 1024));
        else
            usage();
        words.erase(words.begin(), words.begin() + 2);
    }
    return options;
}

}  // namespace

int main(int argc, char** argv) {
    std::vector<std::string> words(argv + 1, argv + argc);
    const floor_bench::FloorOptions options = take_options(words);
    if (words.size() == 3 && words[0] == "serve")
        return floor_bench::run_server(port_of(words[1]), words[2], options);
    if (words.size() == 4 && words[0] == "send") {
        const std::string list = words[1] == "--full" ? "" : words[1];
        return floor_bench::run_sender(list, words[2], port_of(words[3]), options);
    }
    if (words.size() == 3 && words[0] == "equal")
        return floor_bench::run_equal(words[1], words[2], options);
    if (words.size() == 2 && words[0] == "read") return floor_bench::run_reader(words[1], options);
    usage();
}
