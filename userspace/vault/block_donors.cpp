// SPDX-License-Identifier: Apache-2.0
// Most often the same bytes were stored again. Where they came by another codec or level the plain
// block is packed by each level, as the indexes say of which kind and length it is: the libraries
// pack the same block to the same bytes, and where another version of one does not, nothing is
// found. Which level it once was stands nowhere.

#include "userspace/vault/block_donors.hpp"

#include <algorithm>

#include "io/checksum.hpp"
#include "userspace/vault/vault_crypto.hpp"

namespace towline {

std::optional<BlockDonors::Wanted> BlockDonors::key_of(const SegmentTable& table,
                                                       const SegmentEntry& entry) {
    if (entry.zeros()) return std::nullopt;
    if (!table.identities)
        return Wanted{.seed = table.seed, .block = entry.block, .check = entry.check};
    if (entry.identity == BlockIdentity{}) return std::nullopt;
    return Wanted{.identity = entry.identity};
}

void BlockDonors::want(const SegmentTable& table, const SegmentEntry& entry) {
    if (const auto key = key_of(table, entry)) donors_.try_emplace(*key);
}

void BlockDonors::look_into(const OpenSegment& segment, std::span<const std::uint32_t> bad) {
    for (std::size_t i = 0; i < segment.offsets.size(); ++i) {
        const SegmentEntry& entry = segment.table.entries[i];
        const auto key = key_of(segment.table, entry);
        const auto wanted = key ? donors_.find(*key) : donors_.end();
        if (wanted == donors_.end() || wanted->second.size() == kDonorsMax ||
            std::ranges::binary_search(bad, entry.origin))
            continue;
        OpenSegment donor{.id = segment.id, .table = {}, .offsets = {segment.offsets[i]}};
        donor.table.volume_bytes = segment.table.volume_bytes;
        donor.table.block_bytes = segment.table.block_bytes;
        donor.table.entries = {entry};
        wanted->second.push_back(std::move(donor));
    }
}

// The donor can be read, and is the block that is wanted as far as that can be told from the plain.
bool BlockDonors::gives(const OpenSegment& donor, const SegmentTable& table,
                        const SegmentEntry& entry) {
    plain_.resize(donor.table.plain_bytes(donor.table.entries[0].block));
    const auto stored = read_plain(vault_->store(), donor, 0, codec_, buffer_, plain_);
    if (!stored || plain_.size() != table.plain_bytes(entry.block)) return false;
    stored_ = *stored;
    const auto check = BlockCheck::with_seed(table.seed);
    if (check.of(plain_, entry.block * table.block_bytes) != entry.check) return false;
    return !table.identities || hmac_sha256(vault_->identity_key(), plain_) == entry.identity;
}

namespace {

// False: it cannot be what was stored.
bool add(const SegmentTable& table, const SegmentEntry& entry, ByteSpan bytes,
         std::vector<BlockDonors::Bytes>& found) {
    if (bytes.size() != entry.stored_bytes) return false;
    if (!table.identities && crc32c(bytes) != entry.stored_crc) return false;
    const bool known = std::ranges::any_of(
        found, [&](const auto& each) { return std::ranges::equal(each, bytes); });
    if (!known && found.size() < BlockDonors::kCandidatesMax)
        found.emplace_back(bytes.begin(), bytes.end());
    return true;
}

}  // namespace

void BlockDonors::pack(const SegmentTable& table, const SegmentEntry& entry,
                       std::vector<Bytes>& found) {
    const auto kind = static_cast<BlockKind>(entry.kind);
    if (kind == BlockKind::kRaw) {
        add(table, entry, plain_, found);
        return;
    }
    Bytes packed(plain_.size());
    for (int level = 1; level <= kLevelMax; ++level)
        if (const auto size = codec_.compress(kind, level, plain_, packed))
            if (add(table, entry, ByteSpan(packed).first(*size), found)) return;
}

std::vector<BlockDonors::Bytes> BlockDonors::candidates(const SegmentTable& table,
                                                        const SegmentEntry& entry) {
    std::vector<Bytes> found;
    const auto key = key_of(table, entry);
    const auto donors = key ? donors_.find(*key) : donors_.end();
    if (donors == donors_.end()) return found;
    for (const OpenSegment& each : donors->second) {
        if (!gives(each, table, entry)) continue;
        const bool same_kind = each.table.entries[0].kind == entry.kind;
        if (!same_kind || !add(table, entry, stored_, found)) pack(table, entry, found);
        if (table.identities && !found.empty()) break;  // one is as good as another
    }
    return found;
}

}  // namespace towline
