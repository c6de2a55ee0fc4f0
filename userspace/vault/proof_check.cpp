// SPDX-License-Identifier: Apache-2.0
// CRCs find what chance does. Bytes that were put there to have the same ones, and a table that was
// made for other bytes, are found by what hangs on a key of the vault. Of a group in which a block
// fails its CRC nothing more is said of the others.

#include "userspace/vault/proof_check.hpp"

namespace towline {

ProofCheck::ProofCheck(const Vault& vault, const OpenSegment& segment)
    : vault_(vault),
      table_(segment.table),
      prover_(table_.identities ? vault.identity_key() : vault.proof_key(), segment.id,
              segment.table) {}

void ProofCheck::add(const SegmentEntry& entry, ByteSpan stored, ByteSpan plain, bool sound) {
    if (!table_.identities) {
        prover_.add(entry, stored);
        group_.push_back(entry.origin);
        all_sound_ &= sound;
        if (group_.size() == vault_format::kGroupBlocks) close_group();
        return;
    }
    if (!sound) return;
    // What is left at a volume's end has none.
    const bool whole = plain.size() == table_.block_bytes;
    const BlockIdentity identity =
        whole ? hmac_sha256(vault_.identity_key(), plain) : BlockIdentity{};
    if (entry.identity != identity) unproven_.push_back(entry.origin);
}

void ProofCheck::close_group() {
    const bool proven = prover_.finish() == table_.proofs[number_++];
    if (all_sound_ && !proven) unproven_.insert(unproven_.end(), group_.begin(), group_.end());
    group_.clear();
    all_sound_ = true;
}

std::vector<std::uint32_t> ProofCheck::finish() {
    if (!group_.empty()) close_group();
    return unproven_;
}

}  // namespace towline
