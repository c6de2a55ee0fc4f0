// SPDX-License-Identifier: Apache-2.0
#pragma once

// The persistent form of a change map; its grammar is in docs/format-state.md.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace towline::change_map_format {

constexpr std::string_view kMagic = "TLCHGMAP";
constexpr std::uint32_t kVersion = 1;

enum class Body : std::uint32_t {
    kRuns = 0,   // a pair of varints each: clear blocks before it, marked blocks
    kWords = 1,  // the bits themselves, where runs would take more room
};

constexpr std::size_t kHeaderBytes = 48;
constexpr std::size_t kTrailerBytes = 4;

// What a reader may be made to allocate, whatever a file or a peer declares.
constexpr std::uint64_t kVolumeBytesMax = std::uint64_t{1} << 60;
constexpr std::uint64_t kMapBytesMax = std::uint64_t{1} << 30;
constexpr std::uint32_t kBlockBytesMin = 512;
constexpr std::uint32_t kBlockBytesMax = 64u << 20;

constexpr std::uint64_t block_count_of(std::uint64_t volume_bytes, std::uint32_t block_bytes) {
    return volume_bytes / block_bytes + (volume_bytes % block_bytes != 0 ? 1 : 0);
}

// What ChangeMap can be made of. Whoever takes a geometry from a file, a peer or a user asks this
// before constructing one.
constexpr bool geometry_allowed(std::uint64_t volume_bytes, std::uint32_t block_bytes) {
    return std::has_single_bit(block_bytes) && block_bytes >= kBlockBytesMin &&
           block_bytes <= kBlockBytesMax && volume_bytes <= kVolumeBytesMax &&
           block_count_of(volume_bytes, block_bytes) <= kMapBytesMax * 8;
}

}  // namespace towline::change_map_format
