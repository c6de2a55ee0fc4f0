// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "userspace/vault/segment_proof.hpp"
#include "userspace/vault/vault.hpp"

namespace towline {

// What a segment's table says beside CRCs, of blocks that are read in their order: of each group
// its proof, or of each block its identity.
class ProofCheck {
  public:
    // Both outlive this.
    ProofCheck(const Vault& vault, const OpenSegment& segment);

    // `sound`: it has its CRCs.
    void add(const SegmentEntry& entry, ByteSpan stored, ByteSpan plain, bool sound);
    // Behind the last one: the origins of those that have their CRCs, and are not what was stored.
    std::vector<std::uint32_t> finish();

  private:
    void close_group();

    const Vault& vault_;
    const SegmentTable& table_;
    GroupProver prover_;
    std::vector<std::uint32_t> group_;  // origins
    bool all_sound_ = true;             // in it
    std::size_t number_ = 0;            // of the group
    std::vector<std::uint32_t> unproven_;
};

}  // namespace towline
