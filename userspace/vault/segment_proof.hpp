// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "userspace/vault/segment.hpp"
#include "userspace/vault/vault_crypto.hpp"

namespace towline {

// Makes the proofs of a segment's groups: who has the same proof has the same stored bytes, at the
// same places of the same segment, whatever its generation.
class GroupProver {
  public:
    // `table`: its entries do not matter.
    GroupProver(ByteSpan key, const ObjectId& segment, const SegmentTable& table);

    void add(const SegmentEntry& entry, ByteSpan stored);
    std::size_t block_count() const { return block_count_; }
    // Of the blocks that were added since the last one.
    GroupProof finish();

  private:
    HmacSha256 mac_;
    std::vector<std::byte> preamble_;
    std::size_t block_count_ = 0;
};

}  // namespace towline
