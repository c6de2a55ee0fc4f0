// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "userspace/vault/segment_proof.hpp"

namespace towline {

// The stored blocks that one proof is of, as they were found.
class StoredGroup {
  public:
    struct Block {
        SegmentEntry entry;
        std::vector<std::byte> stored;
        Status read{};       // whether it could be read at all
        bool sound = false;  // it has its CRC
    };

    // `number`: of the group in its segment, which outlives this.
    static StoredGroup read(ObjectStore& store, const OpenSegment& segment, std::size_t number,
                            const SegmentTable::Group& group);

    std::vector<Block>& blocks() { return blocks_; }
    const std::vector<Block>& blocks() const { return blocks_; }
    // By the segment's proof, what is in `blocks` is what was stored. Never true where blocks have
    // identities.
    bool proven(ByteSpan key) const;
    // One of them decompresses to what has the CRC of its place.
    bool checks(const Block& block, Codec& codec) const;

  private:
    StoredGroup(const OpenSegment& segment, std::size_t number)
        : segment_(&segment), number_(number) {}

    const OpenSegment* segment_;
    std::size_t number_;
    std::vector<Block> blocks_;
};

}  // namespace towline
