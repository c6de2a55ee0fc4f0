// SPDX-License-Identifier: Apache-2.0
// One block that cannot be read says nothing of its neighbours: each is read for itself.

#include "userspace/vault/stored_group.hpp"

#include "io/checksum.hpp"

namespace towline {

StoredGroup StoredGroup::read(ObjectStore& store, const OpenSegment& segment, std::size_t number,
                              const SegmentTable::Group& group) {
    StoredGroup found(segment, number);
    const std::string name = segment.id.object_name();
    for (const std::size_t at : group) {
        Block block{.entry = segment.table.entries[at], .stored = {}};
        block.stored.resize(block.entry.stored_bytes);
        block.read = read_exactly(store, name, segment.offsets[at], block.stored);
        block.sound = block.read && crc32c(block.stored) == block.entry.stored_crc;
        found.blocks_.push_back(std::move(block));
    }
    return found;
}

bool StoredGroup::proven(ByteSpan key) const {
    if (segment_->table.identities) return false;
    GroupProver prover(key, segment_->id, segment_->table);
    for (const Block& each : blocks_) {
        if (!each.read) return false;
        prover.add(each.entry, each.stored);
    }
    return prover.finish() == segment_->table.proofs[number_];
}

bool StoredGroup::checks(const Block& block, Codec& codec) const {
    const SegmentTable& table = segment_->table;
    const SegmentEntry& entry = block.entry;
    std::vector<std::byte> plain(table.plain_bytes(entry.block));
    return codec.decompress(static_cast<BlockKind>(entry.kind), block.stored, plain) &&
           BlockCheck::with_seed(table.seed).of(plain, entry.block * table.block_bytes) ==
               entry.check;
}

}  // namespace towline
