// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>

#include "userspace/vault/segment_proof.hpp"
#include "userspace/vault/vault.hpp"

namespace towline {

// One segment on its way: blocks are appended, and written a chunk at a time.
class SegmentWriter {
  public:
    // `table`: all of it but the entries. Its proofs, where it brings some, are written as they
    // are: who brings them appends all the blocks that they are of.
    static Result<SegmentWriter> begin(const Vault& vault, ObjectId id, SegmentTable table);

    // Where the block lies. The entry's origin (of a first generation) and stored_crc are filled
    // in here.
    Result<std::uint32_t> append(SegmentEntry entry, ByteSpan stored);
    void zeros(std::uint64_t first, std::uint64_t count);
    bool full() const { return length_bytes_ >= vault_format::kSegmentBytes; }
    std::size_t entry_count() const { return table_.entries.size(); }
    const SegmentTable& table() const { return table_; }
    // Durable and visible when it returns: bytes of the object.
    Result<std::uint64_t> commit();

  private:
    struct FreeMemory {
        void operator()(std::byte* memory) const { std::free(memory); }
    };
    static constexpr std::size_t kChunkBytes = std::size_t{4} << 20;

    SegmentWriter() = default;
    Status put(ByteSpan bytes);
    Status write_chunk();
    void end_group() { table_.proofs.push_back(prover_->finish()); }

    std::unique_ptr<ObjectUpload> upload_;
    ObjectId id_;
    SegmentTable table_;
    std::optional<GroupProver> prover_;  // nothing: no proofs are to be made
    std::unique_ptr<std::byte, FreeMemory> chunk_;
    std::size_t chunk_bytes_ = 0;
    std::uint64_t written_bytes_ = 0;
    std::uint64_t length_bytes_ = 0;
};

}  // namespace towline
