// SPDX-License-Identifier: Apache-2.0
// Blocks are copied behind each other into a chunk: that one copy is what buys large, aligned,
// sequential writes from frames of any length. Nothing of a segment is visible before commit().

#include "userspace/vault/segment_writer.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "io/buffer_pool.hpp"
#include "io/check.hpp"
#include "io/checksum.hpp"

namespace towline {

namespace format = vault_format;

Result<SegmentWriter> SegmentWriter::begin(const Vault& vault, ObjectId id, SegmentTable table) {
    SegmentWriter writer;
    writer.upload_ = TRY(vault.store().begin_put(id.object_name()));
    writer.id_ = std::move(id);
    writer.table_ = std::move(table);
    if (!writer.table_.identities && writer.table_.proofs.empty())
        writer.prover_.emplace(vault.proof_key(), writer.id_, writer.table_);
    writer.chunk_.reset(
        static_cast<std::byte*>(std::aligned_alloc(BufferPool::kAlignmentBytes, kChunkBytes)));
    CHECK(writer.chunk_ != nullptr);
    const auto head = ObjectFrame(vault.id(), writer.id_).head();
    TRY_STATUS(writer.put(head));
    return writer;
}

Result<std::uint32_t> SegmentWriter::append(SegmentEntry entry, ByteSpan stored) {
    CHECK(length_bytes_ + stored.size() < format::kSegmentLengthMax);
    const auto at = static_cast<std::uint32_t>(length_bytes_);
    if (id_.generation == format::kGenerationFirst) {
        entry.origin = at;
        entry.stored_crc = crc32c(stored);
    }
    entry.stored_bytes = static_cast<std::uint32_t>(stored.size());
    table_.entries.push_back(entry);
    if (prover_) {
        prover_->add(entry, stored);
        if (prover_->block_count() == format::kGroupBlocks) end_group();
    }
    TRY_STATUS(put(stored));
    return at;
}

void SegmentWriter::zeros(std::uint64_t first, std::uint64_t count) {
    if (!table_.entries.empty()) {
        SegmentEntry& last = table_.entries.back();
        if (last.zeros() && last.block + last.zero_count == first) {
            last.zero_count += count;
            return;
        }
    }
    table_.entries.push_back({.block = first, .zero_count = count, .kind = format::kKindZeros});
}

Status SegmentWriter::put(ByteSpan bytes) {
    length_bytes_ += bytes.size();
    while (!bytes.empty()) {
        const std::size_t some = std::min(bytes.size(), kChunkBytes - chunk_bytes_);
        std::memcpy(chunk_.get() + chunk_bytes_, bytes.data(), some);
        chunk_bytes_ += some;
        bytes = bytes.subspan(some);
        if (chunk_bytes_ == kChunkBytes) TRY_STATUS(write_chunk());
    }
    return {};
}

Status SegmentWriter::write_chunk() {
    TRY_STATUS(upload_->write(written_bytes_, {chunk_.get(), chunk_bytes_}));
    written_bytes_ += chunk_bytes_;
    chunk_bytes_ = 0;
    return {};
}

Result<std::uint64_t> SegmentWriter::commit() {
    if (prover_ && prover_->block_count() > 0) end_group();
    const std::vector<std::byte> end =
        ObjectFrame::end(length_bytes_ - format::kHeadBytes, table_.encode(id_.generation));
    TRY_STATUS(put(end));
    if (chunk_bytes_ > 0) TRY_STATUS(write_chunk());
    const bool put_first = TRY(upload_->commit(written_bytes_));
    if (!put_first) return fail(Code::kBusy, id_.object_name() + " of the vault is there already");
    return written_bytes_;
}

}  // namespace towline
