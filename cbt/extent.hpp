// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <string_view>
#include <vector>

#include "io/result.hpp"

namespace towline {

// A range of a volume, in bytes.
struct Extent {
    std::uint64_t offset_bytes = 0;
    std::uint64_t length_bytes = 0;

    std::uint64_t end_bytes() const { return offset_bytes + length_bytes; }
    auto operator<=>(const Extent&) const = default;
};

// A change list as people and tools write it: a line each "OFFSET LENGTH" in bytes, decimal or 0x
// hex; blank lines and lines that begin with # are passed over. An extent that overflows or passes
// the end of the volume, or a line of another form, is an error that names the line.
Result<std::vector<Extent>> parse_extents(std::string_view text, std::uint64_t volume_bytes);

// Sorted, neighbours and overlaps joined, empty ones gone.
std::vector<Extent> normalized(std::vector<Extent> extents);

std::uint64_t total_bytes(const std::vector<Extent>& extents);

}  // namespace towline
