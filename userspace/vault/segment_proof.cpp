// SPDX-License-Identifier: Apache-2.0
// What is hashed says of each block where it belongs and how long it is, so that no two groups are
// hashed alike. Nothing of it changes from one generation to the next: a proof goes along with its
// blocks as long as none of them is left out.

#include "userspace/vault/segment_proof.hpp"

#include <algorithm>

namespace towline {

GroupProver::GroupProver(ByteSpan key, const ObjectId& segment, const SegmentTable& table)
    : mac_(key) {
    ByteWriter writer;
    writer.put_bytes(segment.writer.bytes).put(segment.number);
    table.put_head(writer);
    preamble_ = writer.take();
}

void GroupProver::add(const SegmentEntry& entry, ByteSpan stored) {
    if (block_count_++ == 0) mac_.add(preamble_);
    ByteWriter writer;
    entry.put(writer);
    writer.put(entry.origin);
    mac_.add(writer.bytes());
    mac_.add(stored);
}

GroupProof GroupProver::finish() {
    block_count_ = 0;
    const auto whole = mac_.finish();
    GroupProof proof{};
    std::ranges::copy(ByteSpan(whole).first(proof.size()), proof.begin());
    return proof;
}

}  // namespace towline
