// SPDX-License-Identifier: Apache-2.0
// Opening an index reads its table alone: where each page begins and its CRC. Pages are read, and
// checked, one by one; nobody waits for an index of a large volume to be read whole.

#include "userspace/vault/index.hpp"

#include <algorithm>

#include "io/checksum.hpp"

namespace towline {

namespace format = vault_format;

Result<Index> Index::open(std::shared_ptr<ObjectStore> store, const Uuid& vault, const ObjectId& id,
                          const std::optional<Sha256>& expected) {
    Index index;
    index.store_ = std::move(store);
    index.id_ = id;
    index.name_ = id.object_name();
    const ObjectTable read = TRY(read_table(*index.store_, vault, id, format::kIndexTableBytesMax));
    if (expected && sha256(read.table) != *expected)
        return object_damaged(index.name_, "it is not the index that the point was sealed with");
    TRY_STATUS(index.decode(read.table, read.contents_end - format::kHeadBytes));
    return index;
}

Status Index::decode(ByteSpan table, std::uint64_t contents_bytes) {
    ByteReader reader(table);
    geometry_.block_bytes = reader.get<std::uint32_t>();
    page_entries_ = reader.get<std::uint32_t>();
    geometry_.volume_bytes = reader.get<std::uint64_t>();
    geometry_.sequence = reader.get<std::uint64_t>();
    entry_count_ = reader.get<std::uint64_t>();
    const auto segment_count = reader.get<std::uint32_t>();
    const auto page_count = reader.get<std::uint32_t>();
    const std::uint32_t block = geometry_.block_bytes;
    const bool formed = !reader.bad() && block >= format::kBlockBytesMin &&
                        block <= format::kBlockBytesMax && (block & (block - 1)) == 0 &&
                        page_entries_ > 0 && page_entries_ <= format::kPageEntriesMax &&
                        reader.rest_bytes() == segment_count * format::kIndexSegmentBytes +
                                                   page_count * format::kIndexPageBytes &&
                        contents_bytes % format::kIndexEntryBytes == 0 &&
                        entry_count_ == contents_bytes / format::kIndexEntryBytes &&
                        page_count == (entry_count_ + page_entries_ - 1) / page_entries_;
    if (!formed) return object_damaged(name_, "its table is not of its form");
    segments_.resize(segment_count);
    for (SegmentRef& each : segments_) {
        std::ranges::copy(reader.get_bytes(16), each.writer.bytes.begin());
        each.serial = reader.get<std::uint64_t>();
        each.seed = reader.get<std::uint64_t>();
    }
    pages_.resize(page_count);
    std::uint64_t end = 0;
    for (Page& each : pages_) {
        each.first_block = reader.get<std::uint64_t>();
        each.end_block = reader.get<std::uint64_t>();
        each.crc = reader.get<std::uint32_t>();
        if (each.first_block < end || each.end_block <= each.first_block ||
            each.end_block > geometry_.block_count()) {
            return object_damaged(name_, "its pages are out of order");
        }
        end = each.end_block;
    }
    return {};
}

std::size_t Index::page_of(std::uint64_t block) const {
    const auto page = std::ranges::upper_bound(pages_, block, {}, &Page::end_block);
    return static_cast<std::size_t>(page - pages_.begin());
}

Result<std::shared_ptr<const Index::Entries>> Index::read_page(std::size_t page) const {
    const std::uint64_t first = page * page_entries_;
    const std::uint64_t count = std::min<std::uint64_t>(page_entries_, entry_count_ - first);
    std::vector<std::byte> raw(count * format::kIndexEntryBytes);
    TRY_STATUS(
        read_exactly(*store_, name_, format::kHeadBytes + first * format::kIndexEntryBytes, raw));
    if (crc32c(raw) != pages_[page].crc) return object_damaged(name_, "a page fails its check");
    auto entries = std::make_shared<Entries>();
    entries->reserve(count);
    TRY_STATUS(decode_entries(raw, pages_[page], *entries));
    return std::shared_ptr<const Entries>(std::move(entries));
}

Status Index::decode_entries(ByteSpan raw, const Page& page, Entries& entries) const {
    ByteReader reader(raw);
    std::uint64_t end = page.first_block;
    while (reader.rest_bytes() > 0) {
        IndexEntry entry;
        entry.block = get_block_number(reader);
        entry.segment = reader.get<std::uint32_t>();
        entry.origin = reader.get<std::uint32_t>();
        const auto stored = reader.get<std::uint32_t>();
        entry.kind = static_cast<std::uint8_t>(stored >> 24);
        entry.stored_bytes = stored & 0xffffff;
        entry.check = reader.get<std::uint32_t>();
        if (entry.zeros()) {
            entry.count = entry.segment | std::uint64_t{entry.origin} << 32;
            entry.segment = 0;
            entry.origin = 0;
        }
        const bool placed = entry.zeros()
                                ? entry.stored_bytes == 0 && entry.check == 0
                                : entry.kind <= format::kKindZstd && entry.stored_bytes > 0 &&
                                      entry.origin >= format::kHeadBytes &&
                                      entry.segment < segments_.size();
        if (!placed || entry.block < end || entry.block >= page.end_block || entry.count == 0 ||
            entry.count > page.end_block - entry.block) {
            return object_damaged(name_, "an entry cannot be");
        }
        end = entry.end();
        entries.push_back(entry);
    }
    return {};
}

Result<std::optional<IndexEntry>> IndexCursor::next() {
    while (!entries_ || at_ == entries_->size()) {
        if (page_ == index_->page_count()) return std::optional<IndexEntry>();
        entries_ = TRY(index_->read_page(page_++));
        at_ = 0;
    }
    return std::optional((*entries_)[at_++]);
}

}  // namespace towline
