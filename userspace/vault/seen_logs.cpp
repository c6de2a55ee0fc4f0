// SPDX-License-Identifier: Apache-2.0
// A file a log, of one number. Two commands that end at once may note the lower of two numbers that
// both have seen: the next one notes the higher again.

#include "userspace/vault/seen_logs.hpp"

#include <charconv>

#include "io/durable_file.hpp"

namespace towline {

namespace {

constexpr std::size_t kNumberBytesMax = 32;

std::uint64_t number_in(const std::filesystem::path& file) {
    const auto read = read_file(file, kNumberBytesMax);
    if (!read || !*read) return 0;
    const auto* const text = reinterpret_cast<const char*>((*read)->data());
    std::uint64_t number = 0;
    std::from_chars(text, text + (*read)->size(), number);
    return number;
}

}  // namespace

Status SeenLogs::judge(const std::string& log, std::uint64_t last_number) const {
    if (folder_.empty()) return {};
    const std::filesystem::path file = folder_ / "seen" / log;
    const std::uint64_t seen = number_in(file);
    if (last_number < seen) {
        return fail(Code::kCorrupt,
                    "the vault's server shows a log that ends at entry " +
                        std::to_string(last_number) + ", and this host has seen entry " +
                        std::to_string(seen) +
                        ": newer points are withheld, or the vault was put back from a copy, or "
                        "repaired; if you know that it was, remove " +
                        file.string());
    }
    if (last_number == seen) return {};
    const std::string text = std::to_string(last_number) + "\n";
    if (make_folder(file.parent_path()))
        static_cast<void>(replace_file(file, std::as_bytes(std::span(text))));
    return {};
}

}  // namespace towline
