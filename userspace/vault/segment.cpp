// SPDX-License-Identifier: Apache-2.0
// The table of a segment is read with the same distrust as a peer's message: lengths add up to the
// contents exactly, blocks are of the volume, and nothing is allocated for what it merely claims.

#include "userspace/vault/segment.hpp"

#include <algorithm>

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
    entry.block = reader.get<std::uint64_t>();
    entry.origin = reader.get<std::uint32_t>();
    const auto stored = reader.get<std::uint32_t>();
    entry.kind = static_cast<std::uint8_t>(stored >> 24);
    entry.stored_bytes = stored & 0xffffff;
    entry.check = reader.get<std::uint32_t>();
    entry.stored_crc = reader.get<std::uint32_t>();
    if (entry.zeros()) {
        entry.zero_count = entry.check | std::uint64_t{entry.stored_crc} << 32;
        entry.check = 0;
        entry.stored_crc = 0;
    }
    return entry;
}

}  // namespace

std::uint32_t SegmentTable::plain_bytes(std::uint64_t block) const {
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>(block_bytes, volume_bytes - block * block_bytes));
}

std::vector<std::byte> SegmentTable::encode() const {
    ByteWriter writer;
    writer.put_bytes(run.bytes)
        .put_bytes(source.bytes)
        .put(seed)
        .put(volume_bytes)
        .put(epoch)
        .put(block_bytes)
        .put(static_cast<std::uint32_t>(entries.size()));
    for (const SegmentEntry& entry : entries) {
        writer.put(entry.block)
            .put(entry.origin)
            .put(std::uint32_t{entry.kind} << 24 | entry.stored_bytes);
        if (entry.zeros()) {
            writer.put(entry.zero_count);
        } else {
            writer.put(entry.check).put(entry.stored_crc);
        }
    }
    if (identities) {
        for (const SegmentEntry& entry : entries)
            writer.put_bytes(entry.identity);
    }
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
    const std::size_t plain_entries = count * format::kSegmentEntryBytes;
    table.identities =
        count > 0 && reader.rest_bytes() == plain_entries + count * format::kIdentityBytes;
    const bool fits = table.identities || reader.rest_bytes() == plain_entries;
    if (reader.bad() || !fits || !block_size_allowed(table.block_bytes) ||
        table.volume_bytes == 0) {
        return object_damaged(name, "its table is not of its form");
    }
    const std::uint64_t block_count = (table.volume_bytes - 1) / table.block_bytes + 1;
    std::uint64_t at = format::kHeadBytes;
    std::uint64_t origin_next = format::kHeadBytes;
    table.entries.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        const SegmentEntry entry = get_entry(reader);
        const std::uint64_t blocks = entry.zeros() ? entry.zero_count : 1;
        const bool first = generation == format::kGenerationFirst;
        const bool placed = entry.zeros() ? first && entry.stored_bytes == 0 && entry.origin == 0
                                          : entry.stored_bytes > 0 && entry.origin >= origin_next &&
                                                (!first || entry.origin == at);
        if (!known_kind(entry.kind) || !placed || blocks == 0 || entry.block >= block_count ||
            blocks > block_count - entry.block) {
            return object_damaged(name, "an entry of its table cannot be");
        }
        at += entry.stored_bytes;
        if (!entry.zeros()) origin_next = std::uint64_t{entry.origin} + entry.stored_bytes;
        table.entries.push_back(entry);
    }
    if (at != format::kHeadBytes + contents_bytes)
        return object_damaged(name, "its table does not cover its contents");
    if (table.identities) {
        for (SegmentEntry& each : table.entries)
            std::ranges::copy(reader.get_bytes(each.identity.size()), each.identity.begin());
    }
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

}  // namespace towline
