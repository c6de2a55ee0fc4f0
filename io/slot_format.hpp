// SPDX-License-Identifier: Apache-2.0
#pragma once

// The form of a slot file (docs/format-state.md).

#include <cstddef>
#include <cstdint>

namespace towline::slot_format {

// What a disk writes whole or not at all. Each names its place and its write, so that a write that
// a crash tore is told from contents that rotted: the one is a write that never ended, the other
// may be the last state.
constexpr std::size_t kSectorBytes = 512;
constexpr std::size_t kSectorHeadBytes = 16;  // crc32c, index, generation
constexpr std::size_t kSectorRoomBytes = kSectorBytes - kSectorHeadBytes;
// In front of the contents, in the first sector.
constexpr std::uint64_t kMagic = 0x31544f4c53574c54;  // "TLWSLOT1"
constexpr std::size_t kContentsHeadBytes = 16;        // magic, length
// A slot is a multiple of this, so that no two share a page or a filesystem's block.
constexpr std::size_t kSlotAlignmentBytes = 4096;

}  // namespace towline::slot_format
