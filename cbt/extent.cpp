// SPDX-License-Identifier: Apache-2.0
// Ranges of a volume, and the change list in text. A list comes from people and from other tools:
// every line is judged on its own and a bad one is named, never guessed at, because an extent read
// wrongly is a change lost.

#include "cbt/extent.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>

namespace towline {
namespace {

constexpr std::string_view kBlanks = " \t\r";

// Takes the first word off `line`; empty when there is none left.
std::string_view take_word(std::string_view& line) {
    line.remove_prefix(std::min(line.find_first_not_of(kBlanks), line.size()));
    const std::string_view word = line.substr(0, line.find_first_of(kBlanks));
    line.remove_prefix(word.size());
    return word;
}

std::optional<std::uint64_t> parse_number(std::string_view word) {
    const bool hex = word.starts_with("0x") || word.starts_with("0X");
    if (hex) word.remove_prefix(2);
    std::uint64_t value = 0;
    const char* const end = word.data() + word.size();
    const auto [stopped, error] = std::from_chars(word.data(), end, value, hex ? 16 : 10);
    if (word.empty() || error != std::errc{} || stopped != end) return std::nullopt;
    return value;
}

std::unexpected<Error> bad_line(std::size_t number, const std::string& why) {
    return fail(Code::kInvalid, "change list, line " + std::to_string(number) + ": " + why);
}

Result<Extent> parse_line(std::string_view line, std::size_t number, std::uint64_t volume_bytes) {
    const auto offset = parse_number(take_word(line));
    const auto length = parse_number(take_word(line));
    if (!offset || !length || !take_word(line).empty()) {
        return bad_line(number, "not of the form \"OFFSET LENGTH\" in bytes");
    }
    // In this order nothing can overflow.
    if (*offset > volume_bytes || *length > volume_bytes - *offset) {
        return bad_line(number, "the extent passes the end of the volume, which has " +
                                    std::to_string(volume_bytes) + " bytes");
    }
    return Extent{*offset, *length};
}

}  // namespace

Result<std::vector<Extent>> parse_extents(std::string_view text, std::uint64_t volume_bytes) {
    std::vector<Extent> extents;
    for (std::size_t number = 1; !text.empty(); ++number) {
        const std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(line.size() + 1, text.size()));
        std::string_view rest = line;
        const std::string_view first = take_word(rest);
        if (first.empty() || line.starts_with('#')) continue;
        extents.push_back(TRY(parse_line(line, number, volume_bytes)));
    }
    return extents;
}

std::vector<Extent> normalized(std::vector<Extent> extents) {
    std::erase_if(extents, [](const Extent& extent) { return extent.length_bytes == 0; });
    std::ranges::sort(extents);
    std::size_t kept = 0;
    for (const Extent& extent : extents) {
        if (kept > 0 && extent.offset_bytes <= extents[kept - 1].end_bytes()) {
            Extent& last = extents[kept - 1];
            last.length_bytes = std::max(last.end_bytes(), extent.end_bytes()) - last.offset_bytes;
        } else {
            extents[kept++] = extent;
        }
    }
    extents.resize(kept);
    return extents;
}

std::uint64_t total_bytes(const std::vector<Extent>& extents) {
    std::uint64_t total = 0;
    for (const Extent& extent : extents)
        total += extent.length_bytes;
    return total;
}

}  // namespace towline
