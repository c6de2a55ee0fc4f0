// SPDX-License-Identifier: Apache-2.0
#pragma once

// A segment: stored blocks one behind the other, and the table that says what they are.

#include <array>
#include <optional>
#include <vector>

#include "transport/codec.hpp"
#include "userspace/vault/object_frame.hpp"

namespace towline {

// HMAC-SHA256 of a plain block by a key of the vault: who has the same has the same block.
using BlockIdentity = std::array<std::byte, vault_format::kIdentityBytes>;

// Of the stored bytes of a few blocks (segment_proof.hpp).
using GroupProof = std::array<std::byte, vault_format::kProofBytes>;

// A block as it is stored, or a range of zeros.
struct SegmentEntry {
    std::uint64_t block = 0;
    std::uint64_t zero_count = 0;  // of zeros: how many blocks; then what follows is 0
    std::uint32_t origin = 0;      // where it lay in the first generation
    std::uint8_t kind = 0;
    std::uint32_t stored_bytes = 0;
    std::uint32_t check = 0;  // CRC of the plain block
    std::uint32_t stored_crc = 0;
    BlockIdentity identity{};  // zeros: it has none

    bool zeros() const { return kind == vault_format::kKindZeros; }
    // As it stands in the table.
    void put(ByteWriter& writer) const;
    bool operator==(const SegmentEntry&) const = default;
};

struct SegmentTable {
    Uuid run;
    Uuid source;
    std::uint64_t seed = 0;
    std::uint64_t volume_bytes = 0;
    std::uint64_t epoch = 0;
    std::uint32_t block_bytes = 0;
    bool identities = false;  // each entry has one, and nothing has a proof
    std::vector<SegmentEntry> entries;
    std::vector<GroupProof> proofs;  // of each of groups()

    // The plain length of a block.
    std::uint32_t plain_bytes(std::uint64_t block) const;
    // Stored blocks that a proof is of, by their places in `entries`.
    using Group = std::vector<std::size_t>;
    std::vector<Group> groups() const;
    // What is the same in all generations, but for the entries.
    void put_head(ByteWriter& writer) const;
    std::vector<std::byte> encode(std::uint32_t generation) const;
    // `contents_bytes`: what the stored blocks have to fill exactly. `name` is for the error.
    static Result<SegmentTable> decode(ByteSpan raw, std::uint64_t contents_bytes,
                                       std::uint32_t generation, const std::string& name);
};

// The table of a segment's present generation.
struct OpenSegment {
    ObjectId id;
    SegmentTable table;
    std::vector<std::uint64_t> offsets;  // of each entry's stored block, in the object
    std::uint64_t object_bytes = 0;
};

// A stored block that can be read and has its CRC, and in `plain` what it decompresses to, exactly
// as long; that is not checked any further. The stored bytes lie in `into`, which grows.
Result<ByteSpan> read_plain(ObjectStore& store, const OpenSegment& segment, std::size_t entry,
                            Codec& codec, std::vector<std::byte>& into, MutableByteSpan plain);

// The generation that is there now, the highest; nothing when none is.
Result<std::optional<ObjectId>> find_segment(ObjectStore& store, const std::string& series,
                                             const Uuid& writer, std::uint64_t serial);
Result<OpenSegment> open_segment(ObjectStore& store, const Uuid& vault, const ObjectId& id);

}  // namespace towline
