// SPDX-License-Identifier: Apache-2.0
#pragma once

// How objects of an encrypted vault are stored (docs/format-vault.md).

#include <cstddef>
#include <cstdint>

namespace towline::sealed_format {

constexpr std::uint64_t kMagic = 0x31304c4145534c54;  // "TLSEAL01"
constexpr std::uint16_t kVersion = 1;
constexpr std::size_t kHeadBytes = 64;
constexpr std::size_t kSaltBytes = 24;
constexpr unsigned kChunkLog2 = 14;
constexpr std::size_t kChunkBytes = std::size_t{1} << kChunkLog2;
constexpr std::size_t kChunkEndBytes = 20;  // tag and CRC
constexpr std::size_t kStrideBytes = kChunkBytes + kChunkEndBytes;

// The name of a series as it stands in the names of objects.
constexpr std::size_t kNameBytesMax = 96;
constexpr std::size_t kNamePadBytes = 24;
constexpr std::size_t kNameTagBytes = 16;

}  // namespace towline::sealed_format
