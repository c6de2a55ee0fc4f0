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

// Blocks that are neighbours on the volume.
struct DataExtent {
    std::uint64_t offset_bytes = 0;
    std::uint32_t count = 0;

    bool operator==(const DataExtent&) const = default;
};

// A frame gathers what is ready at the moment, wherever it lies: extents in the order of the
// volume, the blocks of all of them one behind the other.
struct DataHead {
    static constexpr std::size_t kFixedBytes = 8;
    static constexpr std::size_t kExtentBytes = 12;
    static constexpr std::size_t kEntryBytes = 8;
    static constexpr std::size_t kEncodedBytesMax = kFixedBytes +
                                                    wire::kExtentsPerFrameMax * kExtentBytes +
                                                    wire::kBlocksPerFrameMax * kEntryBytes;

    std::uint32_t block_bytes = 0;
    std::uint16_t extent_count = 0;
    std::uint16_t block_count = 0;  // the sum of the extents' counts
    std::array<DataExtent, wire::kExtentsPerFrameMax> extents;
    std::array<StoredBlock, wire::kBlocksPerFrameMax> blocks;

    void add_extent(std::uint64_t offset_bytes, std::uint32_t count);
    std::size_t encoded_bytes() const {
        return kFixedBytes + extent_count * kExtentBytes + block_count * kEntryBytes;
    }
    std::size_t payload_bytes() const;
    void encode(MutableByteSpan into) const;
    // Checks the table against itself and against the payload's length.
    static Status decode(ByteSpan head, std::uint32_t payload_bytes, DataHead& into);
};

}  // namespace towline
