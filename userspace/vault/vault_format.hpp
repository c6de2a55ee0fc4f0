// SPDX-License-Identifier: Apache-2.0
#pragma once

// Numbers of the vault's objects; their grammar is docs/format-vault.md.

#include <cstddef>
#include <cstdint>

namespace towline::vault_format {

constexpr std::uint64_t kMagic = 0x31544c5541564c54;  // "TLVAULT1"
constexpr std::uint16_t kVersion = 4;                 // the only one that is read

constexpr std::size_t kHeadBytes = 64;
constexpr std::size_t kTrailerBytes = 32;

enum class ObjectKind : std::uint16_t { kConfig = 1, kLogEntry = 2, kIndex = 3, kSegment = 4 };

constexpr std::size_t kDocumentBytesMax = std::size_t{16} << 20;
constexpr std::size_t kNameBytesMax = 200;  // as it stands in an object's name

// Blocks.
constexpr std::uint8_t kKindRaw = 0;
constexpr std::uint8_t kKindDeflate = 1;
constexpr std::uint8_t kKindZstd = 2;
constexpr std::uint8_t kKindZeros = 255;
constexpr std::uint32_t kBlockBytesMin = 4096;
constexpr std::uint32_t kBlockBytesMax = 1024 * 1024;
constexpr std::uint64_t kBlockCountMax = std::uint64_t{1} << 40;  // of a volume

// Segments.
constexpr std::size_t kSegmentBytes = std::size_t{64} << 20;  // a segment is cut behind this
constexpr std::size_t kSegmentTableHeadBytes = 64;
constexpr std::size_t kSegmentEntryBytes = 17;
constexpr std::size_t kOriginBytes = 4;     // of each entry, behind the first generation
constexpr std::size_t kIdentityBytes = 32;  // of each entry, where equal blocks are kept once
constexpr std::size_t kProofBytes = 16;     // else of each group
constexpr std::size_t kGroupBlocks = 4;     // stored blocks that one proof is of
// No NAME is written so: where the segments of all of them are, in such a vault.
constexpr char kPoolSeries[] = "%pool";
constexpr std::uint64_t kSegmentLengthMax = std::uint64_t{1} << 30;
constexpr std::uint32_t kGenerationFirst = 1;

// Indexes.
constexpr std::size_t kIndexEntryBytes = 21;
constexpr std::uint32_t kPageEntries = 780;  // 16 KiB
constexpr std::uint32_t kPageEntriesMax = 65536;
constexpr std::size_t kIndexTableHeadBytes = 40;
constexpr std::size_t kIndexSegmentBytes = 32;
constexpr std::size_t kIndexPageBytes = 20;
constexpr std::uint64_t kIndexTableBytesMax = std::uint64_t{1} << 30;

// Levels of a point's indexes.
constexpr unsigned kLevelIndexesMax = 15;
constexpr std::uint8_t kLevelWhole = 255;

}  // namespace towline::vault_format
