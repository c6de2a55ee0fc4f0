// SPDX-License-Identifier: Apache-2.0
// Writes an index as its entries come. Memory: a chunk, and what the table will need (a page's row
// a page, a segment's row a segment).

#include <algorithm>
#include <cstring>

#include "io/check.hpp"
#include "io/checksum.hpp"
#include "userspace/vault/index.hpp"
#include "userspace/vault/libcrypto.hpp"

namespace towline {

namespace format = vault_format;

Sha256 sha256(ByteSpan bytes) {
    Sha256 digest{};
    crypto().SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
                    reinterpret_cast<unsigned char*>(digest.data()));
    return digest;
}

std::string hex_of(const Sha256& digest) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    for (const std::byte each : digest) {
        text += kDigits[std::to_integer<unsigned>(each) >> 4];
        text += kDigits[std::to_integer<unsigned>(each) & 15];
    }
    return text;
}

Result<IndexWriter> IndexWriter::begin(ObjectStore& store, const Uuid& vault, ObjectId id,
                                       const IndexGeometry& geometry) {
    IndexWriter writer;
    writer.upload_ = TRY(store.begin_put(id.object_name()));
    writer.id_ = std::move(id);
    writer.geometry_ = geometry;
    writer.chunk_ = ObjectFrame(vault, writer.id_).head();
    return writer;
}

std::uint32_t IndexWriter::segment(const SegmentRef& ref) {
    const auto at = std::ranges::lower_bound(
        places_, ref, {}, [](const auto& each) -> const auto& { return each.first; });
    if (at != places_.end() && at->first == ref) return at->second;
    const auto place = static_cast<std::uint32_t>(segments_.size());
    segments_.push_back(ref);
    places_.insert(at, {ref, place});
    return place;
}

Status IndexWriter::add(const IndexEntry& entry) {
    if (zeros_ && entry.zeros() && zeros_->end() == entry.block) {
        zeros_->count += entry.count;
        return {};
    }
    if (zeros_) TRY_STATUS(put(*std::exchange(zeros_, std::nullopt)));
    if (!entry.zeros()) return put(entry);
    zeros_ = entry;
    return {};
}

Status IndexWriter::put(const IndexEntry& entry) {
    CHECK(entry.block >= end_block_ && entry.count > 0);
    ByteWriter raw;
    put_block_number(raw, entry.block);
    if (entry.zeros()) {
        raw.put(entry.count);
    } else {
        raw.put(entry.segment).put(entry.origin);
    }
    raw.put(std::uint32_t{entry.kind} << 24 | entry.stored_bytes).put(entry.check);
    if (page_.empty()) page_first_ = entry.block;
    page_.insert(page_.end(), raw.bytes().begin(), raw.bytes().end());
    end_block_ = entry.end();
    ++entry_count_;
    if (page_.size() < format::kPageEntries * format::kIndexEntryBytes) return {};
    end_page();
    return append(std::exchange(page_, {}));
}

void IndexWriter::end_page() {
    pages_.push_back({page_first_, end_block_, crc32c(page_)});
}

Status IndexWriter::append(ByteSpan bytes) {
    chunk_.insert(chunk_.end(), bytes.begin(), bytes.end());
    return chunk_.size() < kChunkBytes ? Status{} : write_chunk(kChunkBytes);
}

Status IndexWriter::write_chunk(std::size_t bytes) {
    TRY_STATUS(upload_->write(written_bytes_, ByteSpan(chunk_).first(bytes)));
    written_bytes_ += bytes;
    chunk_.erase(chunk_.begin(), chunk_.begin() + static_cast<std::ptrdiff_t>(bytes));
    return {};
}

std::vector<std::byte> IndexWriter::table() const {
    ByteWriter writer;
    writer.put(geometry_.block_bytes)
        .put(format::kPageEntries)
        .put(geometry_.volume_bytes)
        .put(geometry_.sequence)
        .put(entry_count_)
        .put(static_cast<std::uint32_t>(segments_.size()))
        .put(static_cast<std::uint32_t>(pages_.size()));
    for (const SegmentRef& each : segments_)
        writer.put_bytes(each.writer.bytes).put(each.serial).put(each.seed);
    for (const Page& each : pages_)
        writer.put(each.first_block).put(each.end_block).put(each.crc);
    return writer.take();
}

Result<WrittenIndex> IndexWriter::finish() {
    if (zeros_) TRY_STATUS(put(*std::exchange(zeros_, std::nullopt)));
    if (!page_.empty()) {
        end_page();
        TRY_STATUS(append(std::exchange(page_, {})));
    }
    const std::vector<std::byte> rows = table();
    const std::uint64_t contents = written_bytes_ + chunk_.size() - format::kHeadBytes;
    TRY_STATUS(append(ObjectFrame::end(contents, rows)));
    while (chunk_.size() > kChunkBytes)
        TRY_STATUS(write_chunk(kChunkBytes));
    if (!chunk_.empty()) TRY_STATUS(write_chunk(chunk_.size()));
    const bool put_first = TRY(upload_->commit(written_bytes_));
    if (!put_first) return fail(Code::kBusy, id_.object_name() + " of the vault is there already");
    return WrittenIndex{.id = id_,
                        .entry_count = entry_count_,
                        .object_bytes = written_bytes_,
                        .sha256 = towline::sha256(rows)};
}

}  // namespace towline
