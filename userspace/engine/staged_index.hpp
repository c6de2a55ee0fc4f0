// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "cbt/extent.hpp"
#include "io/bytes.hpp"
#include "io/result.hpp"
#include "io/uuid.hpp"

namespace towline {

// The file under an index. Real, or the simulator's.
class StagedFile {
  public:
    virtual ~StagedFile() = default;
    virtual Result<std::uint64_t> size_bytes() const = 0;
    // Short only at the end.
    virtual Result<std::vector<std::byte>> read(std::uint64_t offset_bytes,
                                                std::size_t length_bytes) const = 0;
    // Durable when it returns.
    virtual Status write(std::uint64_t offset_bytes, ByteSpan bytes) = 0;
    virtual Status empty() = 0;
};

// Neighbouring blocks that are staged: where they belong, and where they are. Their CRCs, one a
// block, seeded as on the wire, are in the batch from `first_crc` on; zeros have none.
struct StagedEntry {
    Extent extent;
    std::uint64_t place_bytes = 0;
    std::size_t first_crc = 0;
    bool zeros() const;
};

struct StagedBatch {
    std::uint32_t block_bytes = 0;
    std::vector<StagedEntry> entries;
    std::vector<std::uint32_t> crcs;

    std::size_t blocks_of(const StagedEntry& entry) const;
    void add_zeros(Extent extent);
    // Appends another batch of the same block size.
    void take(StagedBatch&& other);
    void clear() {
        entries.clear();
        crcs.clear();
    }
};

// What of a run is staged, as batches that are appended and synced; a batch that a crash tore is
// the end of it: nobody was told of what it stood for. A later entry stands above an earlier one.
// The end that finish() writes says that all is there.
class StagedIndex {
  public:
    // Empties the file.
    static Result<StagedIndex> create(std::unique_ptr<StagedFile> file, const Uuid& run);
    // kCorrupt when the file is not this run's.
    static Result<StagedIndex> open(std::unique_ptr<StagedFile> file, const Uuid& run);

    // The blocks of its entries are durable before this is called, and the entries behind it.
    Status append(const StagedBatch& batch);
    Status finish();

    bool empty() const { return entry_count_ == 0; }
    // Nothing was lost of it, and nothing came behind its end.
    bool finished() const { return finished_; }
    // Where no staged block is behind.
    std::uint64_t places_end_bytes() const { return places_end_bytes_; }
    // The batch at `cursor`, which is moved behind it; begins at 0. Nothing: that was the last.
    Result<std::optional<StagedBatch>> read(std::uint64_t& cursor) const;
    // Where the blocks of the run are, once each.
    Result<std::vector<Extent>> extents() const;

  private:
    StagedIndex(std::unique_ptr<StagedFile> file, const Uuid& run);
    std::vector<std::byte> header() const;
    Status load();
    std::uint32_t seed_at(std::uint64_t offset_bytes) const;
    Result<std::optional<StagedBatch>> read_at(std::uint64_t& at, bool& end) const;
    Status append_some(const StagedBatch& batch, std::size_t first, std::size_t count);
    void count(const StagedBatch& batch);

    std::unique_ptr<StagedFile> file_;
    Uuid run_;
    std::uint64_t end_bytes_ = 0;  // of the last whole batch
    std::uint64_t entry_count_ = 0;
    std::uint64_t places_end_bytes_;
    bool finished_ = false;
};

}  // namespace towline
