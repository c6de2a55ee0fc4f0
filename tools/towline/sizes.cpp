// SPDX-License-Identifier: Apache-2.0
// Sizes as people write them: a whole number, and K, M, G or T for powers of 1024.

#include "tools/towline/sizes.hpp"

#include <charconv>

namespace towline {

Result<std::uint64_t> parse_size(const std::string& text, const std::string& option) {
    const auto wrong = [&] {
        return fail(Code::kInvalid, option + " " + text + ": bytes, or a number with K, M, G or T");
    };
    std::uint64_t value = 0;
    const char* const end = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{}) return wrong();
    std::string unit(stopped, end);
    if (unit.ends_with("iB")) unit.resize(unit.size() - 2);
    if (unit.empty()) return value;
    const std::size_t power = std::string("KMGT").find(unit == "k" ? "K" : unit);
    if (unit.size() != 1 || power == std::string::npos) return wrong();
    const unsigned shift = 10 * (static_cast<unsigned>(power) + 1);
    if ((value << shift) >> shift != value) return wrong();
    return value << shift;
}

}  // namespace towline
