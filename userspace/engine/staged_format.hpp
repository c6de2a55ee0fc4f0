// SPDX-License-Identifier: Apache-2.0
#pragma once

// The constants of a staged run's two files (docs/format-staged.md).

#include <cstddef>
#include <cstdint>

namespace towline::staged_format {

constexpr std::uint64_t kMagic = 0x3144475354574c54;  // "TLWTSGD1"
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 8 + 4 + 4 + 16 + 8 + 4;

constexpr std::uint32_t kBatchMagic = 0x48435442;  // "BTCH"
constexpr std::uint32_t kEndMagic = 0x42444e45;    // "ENDB"
constexpr std::size_t kBatchHeaderBytes = 4 + 4 + 4 + 4 + 4;
constexpr std::size_t kEntryBytes = 8 + 8 + 8;
constexpr std::size_t kCrcBytes = 4;
constexpr std::size_t kEndBytes = 8 + 8;
constexpr std::size_t kBatchEntriesMax = 4096;
constexpr std::size_t kBatchBytesMax = std::size_t{16} << 20;

constexpr std::uint64_t kZeros = UINT64_MAX;  // in the place of an entry: its range is zeros
// Nothing is written in front of this: what is staged as zeros is read from there.
constexpr std::uint64_t kHoleBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kPlaceBytes = 4096;  // what places are multiples of
constexpr std::uint64_t kStretchBytesMax = std::uint64_t{1} << 20;

}  // namespace towline::staged_format
