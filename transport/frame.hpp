// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "io/bytes.hpp"
#include "io/result.hpp"
#include "transport/wire_format.hpp"

namespace towline {

// What opens every frame: 40 bytes with a CRC of their own, then `head_bytes` of typed fields (CRC
// here), then `payload_bytes` of block contents (checked block by block).
struct FrameHeader {
    wire::FrameType type{};
    std::uint16_t flags = 0;
    std::uint64_t run = 0;       // the run the frame belongs to; 0 before one has begun
    std::uint64_t sequence = 0;  // counts the frames of one direction of one connection
    std::uint32_t head_bytes = 0;
    std::uint32_t payload_bytes = 0;
    std::uint32_t head_crc = 0;

    void encode(MutableByteSpan into) const;
    // Every bound is checked here, before anything is allocated for what it announces.
    static Result<FrameHeader> decode(ByteSpan raw);
};

// The typed fields of a Data frame: where the blocks lie and how each is stored.
struct StoredBlock {
    std::uint8_t kind = 0;           // BlockKind or kStoredZero
    std::uint32_t stored_bytes = 0;  // of the payload; 0 for a zero block
    std::uint32_t crc = 0;           // of the plain block, seeded with volume and offset

    bool operator==(const StoredBlock&) const = default;
};

struct DataHead {
    static constexpr std::size_t kFixedBytes = 16;
    static constexpr std::size_t kEntryBytes = 8;

    std::uint64_t offset_bytes = 0;
    std::uint32_t block_bytes = 0;
    std::uint16_t count = 0;
    std::array<StoredBlock, wire::kBlocksPerFrameMax> blocks;

    std::size_t encoded_bytes() const { return kFixedBytes + count * kEntryBytes; }
    std::size_t payload_bytes() const;
    void encode(MutableByteSpan into) const;
    // Checks the table against itself and against the payload's length.
    static Status decode(ByteSpan head, std::uint32_t payload_bytes, DataHead& into);
};

}  // namespace towline
