// SPDX-License-Identifier: Apache-2.0
// The table of a segment is read with the same distrust as a peer's message: lengths add up to the
// contents exactly, blocks are of the volume, and nothing is allocated for what it merely claims.

#include "userspace/vault/segment.hpp"

#include <algorithm>

#include "io/checksum.hpp"

namespace towline {

namespace format = vault_format;

namespace {

bool known_kind(std::uint8_t kind) {
    return kind == format::kKindRaw || kind == format::kKindDeflate || kind == format::kKindZstd ||
           kind == format::kKindZeros;
}

bool block_size_allowed(std::uint32_t block_bytes) {
    return block_bytes >= format::kBlockBytesMin && block_bytes <= format::kBlockBytesMax &&
           (block_bytes & (block_bytes - 1)) == 0;
}

SegmentEntry get_entry(ByteReader& reader) {
    SegmentEntry entry;
    entry.block = get_block_number(reader);
    const auto stored = reader.get<std::uint32_t>();
    entry.kind = static_cast<std::uint8_t>(stored >> 24);
    entry.stored_bytes = stored & 0xffffff;
    if (entry.zeros()) {
        entry.zero_count = reader.get<std::uint64_t>();
        return entry;
    }
    entry.check = reader.get<std::uint32_t>();
    entry.stored_crc = reader.get<std::uint32_t>();
    return entry;
}

// Where blocks lie now, and where they lay at first: they fill the contents, in order.
Status check_places(const SegmentTable& table, std::uint64_t contents_bytes,
                    std::uint32_t generation, const std::string& name) {
    const bool first = generation == format::kGenerationFirst;
    const std::uint64_t block_count = (table.volume_bytes - 1) / table.block_bytes + 1;
    std::uint64_t at = format::kHeadBytes;
    std::uint64_t origin_next = format::kHeadBytes;
    for (const SegmentEntry& entry : table.entries) {
        const std::uint64_t blocks = entry.zeros() ? entry.zero_count : 1;
        const bool placed = entry.zeros() ? first && entry.stored_bytes == 0
                                          : entry.stored_bytes > 0 && entry.origin >= origin_next;
        if (!known_kind(entry.kind) || !placed || blocks == 0 || entry.block >= block_count ||
            blocks > block_count - entry.block) {
            return object_damaged(name, "an entry of its table cannot be");
        }
        at += entry.stored_bytes;
        if (!entry.zeros()) origin_next = std::uint64_t{entry.origin} + entry.stored_bytes;
    }
    if (at != format::kHeadBytes + contents_bytes)
        return object_damaged(name, "its table does not cover its contents");
    return {};
}

// In the first generation a block's origin is where it lies, and is not stored.
void get_origins(SegmentTable& table, ByteReader& reader, std::uint32_t generation) {
    std::uint64_t at = format::kHeadBytes;
    for (SegmentEntry& each : table.entries) {
        if (generation != format::kGenerationFirst)
            each.origin = reader.get<std::uint32_t>();
        else if (!each.zeros())
            each.origin = static_cast<std::uint32_t>(at);
        at += each.stored_bytes;
    }
}

}  // namespace

std::uint32_t SegmentTable::plain_bytes(std::uint64_t block) const {
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>(block_bytes, volume_bytes - block * block_bytes));
}

void SegmentEntry::put(ByteWriter& writer) const {
    put_block_number(writer, block);
    writer.put(std::uint32_t{kind} << 24 | stored_bytes);
    if (zeros()) {
        writer.put(zero_count);
    } else {
        writer.put(check).put(stored_crc);
    }
}

std::vector<SegmentTable::Group> SegmentTable::groups() const {
    std::vector<Group> groups;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        if (entries[i].zeros()) continue;
        if (groups.empty() || groups.back().size() == format::kGroupBlocks) groups.emplace_back();
        groups.back().push_back(i);
    }
    return groups;
}

void SegmentTable::put_head(ByteWriter& writer) const {
    writer.put_bytes(run.bytes)
        .put_bytes(source.bytes)
        .put(seed)
        .put(volume_bytes)
        .put(epoch)
        .put(block_bytes);
}

std::vector<std::byte> SegmentTable::encode(std::uint32_t generation) const {
    ByteWriter writer;
    put_head(writer);
    writer.put(static_cast<std::uint32_t>(entries.size()));
    for (const SegmentEntry& each : entries)
        each.put(writer);
    if (generation != format::kGenerationFirst) {
        for (const SegmentEntry& each : entries)
            writer.put(each.origin);
    }
    if (identities) {
        for (const SegmentEntry& each : entries)
            writer.put_bytes(each.identity);
    }
    for (const GroupProof& each : proofs)
        writer.put_bytes(each);
    return writer.take();
}

Result<SegmentTable> SegmentTable::decode(ByteSpan raw, std::uint64_t contents_bytes,
                                          std::uint32_t generation, const std::string& name) {
    ByteReader reader(raw);
    SegmentTable table;
    std::ranges::copy(reader.get_bytes(16), table.run.bytes.begin());
    std::ranges::copy(reader.get_bytes(16), table.source.bytes.begin());
    table.seed = reader.get<std::uint64_t>();
    table.volume_bytes = reader.get<std::uint64_t>();
    table.epoch = reader.get<std::uint64_t>();
    table.block_bytes = reader.get<std::uint32_t>();
    const auto count = reader.get<std::uint32_t>();
    const bool first = generation == format::kGenerationFirst;
    const std::size_t entry_bytes = format::kSegmentEntryBytes + (first ? 0 : format::kOriginBytes);
    if (reader.bad() || reader.rest_bytes() < count * entry_bytes ||
        !block_size_allowed(table.block_bytes) || table.volume_bytes == 0) {
        return object_damaged(name, "its table is not of its form");
    }
    table.entries.reserve(count);
    std::size_t stored_count = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
        table.entries.push_back(get_entry(reader));
        if (!table.entries.back().zeros()) ++stored_count;
    }
    get_origins(table, reader, generation);
    TRY_STATUS(check_places(table, contents_bytes, generation, name));
    const std::size_t group_count =
        (stored_count + format::kGroupBlocks - 1) / format::kGroupBlocks;
    table.identities = count > 0 && reader.rest_bytes() == count * format::kIdentityBytes;
    if (!table.identities && reader.rest_bytes() != group_count * format::kProofBytes)
        return object_damaged(name, "its table is not of its form");
    if (table.identities) {
        for (SegmentEntry& each : table.entries)
            std::ranges::copy(reader.get_bytes(each.identity.size()), each.identity.begin());
        return table;
    }
    table.proofs.resize(group_count);
    for (GroupProof& each : table.proofs)
        std::ranges::copy(reader.get_bytes(each.size()), each.begin());
    return table;
}

Result<std::optional<ObjectId>> find_segment(ObjectStore& store, const std::string& series,
                                             const Uuid& writer, std::uint64_t serial) {
    using format::ObjectKind;
    ObjectId id{ObjectKind::kSegment, series, writer, serial, format::kGenerationFirst};
    // A segment that was compacted has a later generation and, behind that, not the first.
    if (TRY(store.size(id.object_name()))) {
        ObjectId second = id;
        ++second.generation;
        if (!TRY(store.size(second.object_name()))) return std::optional(id);
    }
    std::optional<ObjectId> found;
    for (const ObjectInfo& each : TRY(store.list(object_folder(ObjectKind::kSegment, series)))) {
        const auto its = parse_object_name(ObjectKind::kSegment, series, each.name);
        if (!its || its->writer != writer || its->number != serial) continue;
        if (!found || its->generation > found->generation) found = its;
    }
    return found;
}

Result<OpenSegment> open_segment(ObjectStore& store, const Uuid& vault, const ObjectId& id) {
    const std::string name = id.object_name();
    const ObjectTable read = TRY(read_table(store, vault, id, format::kSegmentLengthMax));
    OpenSegment segment{.id = id, .table = {}, .offsets = {}, .object_bytes = read.object_bytes};
    segment.table = TRY(SegmentTable::decode(read.table, read.contents_end - format::kHeadBytes,
                                             id.generation, name));
    std::uint64_t at = format::kHeadBytes;
    segment.offsets.reserve(segment.table.entries.size());
    for (const SegmentEntry& entry : segment.table.entries) {
        segment.offsets.push_back(at);
        at += entry.stored_bytes;
    }
    return segment;
}

Result<ByteSpan> read_plain(ObjectStore& store, const OpenSegment& segment, std::size_t entry,
                            Codec& codec, std::vector<std::byte>& into, MutableByteSpan plain) {
    const SegmentEntry& its = segment.table.entries[entry];
    const std::string name = segment.id.object_name();
    if (into.size() < its.stored_bytes) into.resize(its.stored_bytes);
    const MutableByteSpan stored = MutableByteSpan(into).first(its.stored_bytes);
    TRY_STATUS(read_exactly(store, name, segment.offsets[entry], stored));
    if (crc32c(stored) != its.stored_crc)
        return object_damaged(name, "a stored block fails its check");
    TRY_STATUS(codec.decompress(static_cast<BlockKind>(its.kind), stored, plain));
    return ByteSpan(stored);
}

}  // namespace towline
