// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace towline {

// A 128-bit name drawn at random; the nil one means "none".
struct Uuid {
    std::array<std::byte, 16> bytes{};

    static Uuid random();
    static std::optional<Uuid> parse(std::string_view text);

    bool is_nil() const { return *this == Uuid{}; }
    std::string text() const;  // 8-4-4-4-12, lower case
    auto operator<=>(const Uuid&) const = default;
};

// Fills with the kernel's randomness.
void fill_random(void* at, std::size_t bytes);

}  // namespace towline
