// SPDX-License-Identifier: Apache-2.0
// Header, then batches (docs/format-staged.md). The CRC of a batch is seeded with the run and the
// place of the batch in the file, so that what an older run left there, or a piece that lies where
// it does not belong, is no batch of this one.

#include "userspace/engine/staged_index.hpp"

#include <algorithm>
#include <array>

#include "io/align.hpp"
#include "io/checksum.hpp"
#include "userspace/engine/staged_format.hpp"

namespace towline {

namespace format = staged_format;

namespace {

Status bad_index() {
    return fail(Code::kCorrupt, "the journal of the staged run is not as it was written");
}

// A batch that cannot have been written: torn, or not ours.
std::optional<StagedBatch> decode(ByteSpan payload, std::uint32_t block_bytes,
                                  std::uint32_t entry_count) {
    StagedBatch batch{.block_bytes = block_bytes};
    ByteReader reader(payload);
    for (std::uint32_t i = 0; i < entry_count; ++i) {
        StagedEntry entry;
        entry.extent.offset_bytes = reader.get<std::uint64_t>();
        entry.extent.length_bytes = reader.get<std::uint64_t>();
        entry.place_bytes = reader.get<std::uint64_t>();
        entry.first_crc = batch.crcs.size();
        const std::uint64_t length = entry.extent.length_bytes;
        const bool fits = length > 0 && entry.extent.offset_bytes <= UINT64_MAX - length &&
                          (entry.zeros() || (length <= format::kStretchBytesMax &&
                                             entry.place_bytes >= format::kHoleBytes &&
                                             entry.place_bytes % format::kPlaceBytes == 0));
        if (reader.bad() || !fits) return std::nullopt;
        for (std::size_t block = batch.blocks_of(entry); block > 0 && !entry.zeros(); --block)
            batch.crcs.push_back(reader.get<std::uint32_t>());
        batch.entries.push_back(entry);
    }
    if (!reader.finished()) return std::nullopt;
    return batch;
}

}  // namespace

bool StagedEntry::zeros() const {
    return place_bytes == format::kZeros;
}

std::size_t StagedBatch::blocks_of(const StagedEntry& entry) const {
    return static_cast<std::size_t>((entry.extent.length_bytes + block_bytes - 1) / block_bytes);
}

void StagedBatch::add_zeros(Extent extent) {
    entries.push_back({.extent = extent, .place_bytes = format::kZeros, .first_crc = crcs.size()});
}

void StagedBatch::take(StagedBatch&& other) {
    for (StagedEntry entry : other.entries) {
        entry.first_crc += crcs.size();
        entries.push_back(entry);
    }
    crcs.insert(crcs.end(), other.crcs.begin(), other.crcs.end());
    other.clear();
}

StagedIndex::StagedIndex(std::unique_ptr<StagedFile> file, const Uuid& run)
    : file_(std::move(file)), run_(run), places_end_bytes_(format::kHoleBytes) {}

std::vector<std::byte> StagedIndex::header() const {
    std::vector<std::byte> header(format::kHeaderBytes);
    store_le(header.data(), format::kMagic);
    store_le(header.data() + 8, format::kVersion);
    std::ranges::copy(run_.bytes, header.begin() + 16);
    const ByteSpan checked = ByteSpan(header).first(format::kHeaderBytes - format::kCrcBytes);
    store_le(header.data() + checked.size(), crc32c(checked));
    return header;
}

Result<StagedIndex> StagedIndex::create(std::unique_ptr<StagedFile> file, const Uuid& run) {
    StagedIndex index(std::move(file), run);
    TRY_STATUS(index.file_->empty());
    TRY_STATUS(index.file_->write(0, index.header()));
    index.end_bytes_ = format::kHeaderBytes;
    return index;
}

Result<StagedIndex> StagedIndex::open(std::unique_ptr<StagedFile> file, const Uuid& run) {
    StagedIndex index(std::move(file), run);
    const auto header = TRY(index.file_->read(0, format::kHeaderBytes));
    if (header != index.header()) return std::unexpected(bad_index().error());
    TRY_STATUS(index.load());
    return index;
}

Status StagedIndex::load() {
    end_bytes_ = format::kHeaderBytes;
    for (;;) {
        bool end = false;
        const auto batch = TRY(read_at(end_bytes_, end));
        if (!batch) return {};
        finished_ = end;
        if (!end) count(*batch);
    }
}

void StagedIndex::count(const StagedBatch& batch) {
    entry_count_ += batch.entries.size();
    for (const StagedEntry& entry : batch.entries) {
        if (entry.zeros()) continue;
        const std::uint64_t end = entry.place_bytes + entry.extent.length_bytes;
        places_end_bytes_ = std::max(places_end_bytes_, align_up(end, format::kPlaceBytes));
    }
}

std::uint32_t StagedIndex::seed_at(std::uint64_t offset_bytes) const {
    std::array<std::byte, sizeof offset_bytes> place{};
    store_le(place.data(), offset_bytes);
    return crc32c(place, crc32c(run_.bytes));
}

// Nothing: no whole batch is there.
Result<std::optional<StagedBatch>> StagedIndex::read_at(std::uint64_t& at, bool& end) const {
    const auto raw = TRY(file_->read(at, format::kBatchHeaderBytes));
    if (raw.size() != format::kBatchHeaderBytes) return std::nullopt;
    ByteReader header(raw);
    const auto magic = header.get<std::uint32_t>();
    const auto block_bytes = header.get<std::uint32_t>();
    const auto entry_count = header.get<std::uint32_t>();
    const auto payload_bytes = header.get<std::uint32_t>();
    const auto crc = header.get<std::uint32_t>();
    end = magic == format::kEndMagic;
    const bool sane = (end || magic == format::kBatchMagic) && block_bytes > 0 &&
                      entry_count <= format::kBatchEntriesMax &&
                      payload_bytes <= format::kBatchBytesMax;
    if (!sane) return std::nullopt;
    const auto payload = TRY(file_->read(at + format::kBatchHeaderBytes, payload_bytes));
    const ByteSpan checked = ByteSpan(raw).first(format::kBatchHeaderBytes - format::kCrcBytes);
    if (payload.size() != payload_bytes || crc32c(payload, crc32c(checked, seed_at(at))) != crc)
        return std::nullopt;
    if (end) {
        ByteReader counts(payload);
        const bool all = payload_bytes == format::kEndBytes &&
                         counts.get<std::uint64_t>() == entry_count_ &&
                         counts.get<std::uint64_t>() == places_end_bytes_;
        if (!all) return std::unexpected(bad_index().error());
        at += format::kBatchHeaderBytes + payload_bytes;
        return StagedBatch{.block_bytes = block_bytes};
    }
    auto batch = decode(payload, block_bytes, entry_count);
    // Its CRC is right: it was written so.
    if (!batch) return std::unexpected(bad_index().error());
    at += format::kBatchHeaderBytes + payload_bytes;
    return batch;
}

Result<std::optional<StagedBatch>> StagedIndex::read(std::uint64_t& cursor) const {
    if (cursor == 0) cursor = format::kHeaderBytes;
    if (cursor >= end_bytes_) return std::nullopt;
    const std::uint64_t began = cursor;
    const auto raw = TRY(file_->read(cursor, format::kBatchHeaderBytes));
    if (raw.size() == format::kBatchHeaderBytes &&
        load_le<std::uint32_t>(raw.data()) == format::kEndMagic) {
        // An end that more came behind, or the end.
        cursor += format::kBatchHeaderBytes + format::kEndBytes;
        return StagedBatch{.block_bytes = 1};
    }
    bool end = false;
    auto batch = TRY(read_at(cursor, end));
    if (!batch || cursor == began) return std::unexpected(bad_index().error());
    return batch;
}

Status StagedIndex::append(const StagedBatch& batch) {
    for (std::size_t at = 0; at < batch.entries.size(); at += format::kBatchEntriesMax) {
        const std::size_t count = std::min(format::kBatchEntriesMax, batch.entries.size() - at);
        TRY_STATUS(append_some(batch, at, count));
    }
    count(batch);
    return {};
}

Status StagedIndex::append_some(const StagedBatch& batch, std::size_t first, std::size_t count) {
    ByteWriter payload;
    for (const StagedEntry& entry : std::span(batch.entries).subspan(first, count)) {
        payload.put(entry.extent.offset_bytes).put(entry.extent.length_bytes);
        payload.put(entry.place_bytes);
        if (entry.zeros()) continue;
        const std::size_t blocks = batch.blocks_of(entry);
        for (const std::uint32_t crc : std::span(batch.crcs).subspan(entry.first_crc, blocks))
            payload.put(crc);
    }
    ByteWriter whole;
    whole.put(format::kBatchMagic).put(batch.block_bytes);
    whole.put(static_cast<std::uint32_t>(count));
    whole.put(static_cast<std::uint32_t>(payload.bytes().size()));
    whole.put(crc32c(payload.bytes(), crc32c(whole.bytes(), seed_at(end_bytes_))));
    whole.put_bytes(payload.bytes());
    TRY_STATUS(file_->write(end_bytes_, whole.bytes()));
    end_bytes_ += whole.bytes().size();
    finished_ = false;
    return {};
}

Status StagedIndex::finish() {
    ByteWriter payload;
    payload.put(entry_count_).put(places_end_bytes_);
    ByteWriter whole;
    whole.put(format::kEndMagic).put(std::uint32_t{1}).put(std::uint32_t{0});
    whole.put(static_cast<std::uint32_t>(payload.bytes().size()));
    whole.put(crc32c(payload.bytes(), crc32c(whole.bytes(), seed_at(end_bytes_))));
    whole.put_bytes(payload.bytes());
    TRY_STATUS(file_->write(end_bytes_, whole.bytes()));
    end_bytes_ += whole.bytes().size();
    finished_ = true;
    return {};
}

Result<std::vector<Extent>> StagedIndex::extents() const {
    std::vector<Extent> extents;
    std::uint64_t cursor = 0;
    for (;;) {
        const auto batch = TRY(read(cursor));
        if (!batch) return normalized(std::move(extents));
        for (const StagedEntry& entry : batch->entries)
            extents.push_back(entry.extent);
    }
}

}  // namespace towline
