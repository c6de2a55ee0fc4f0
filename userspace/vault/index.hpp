// SPDX-License-Identifier: Apache-2.0
#pragma once

// An index: which block lies where, sorted, in pages that are read when they are wanted.

#include <array>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "userspace/vault/object_frame.hpp"

namespace towline {

struct IndexEntry {
    std::uint64_t block = 0;
    std::uint64_t count = 1;    // of zeros: how many; else 1
    std::uint32_t segment = 0;  // place in the list of segments
    std::uint32_t origin = 0;
    std::uint8_t kind = 0;
    std::uint32_t stored_bytes = 0;
    std::uint32_t check = 0;

    bool zeros() const { return kind == vault_format::kKindZeros; }
    std::uint64_t end() const { return block + count; }
    bool operator==(const IndexEntry&) const = default;
};

// A segment as an index names it.
struct SegmentRef {
    Uuid writer;
    std::uint64_t serial = 0;
    std::uint64_t seed = 0;
    auto operator<=>(const SegmentRef&) const = default;
};

using Sha256 = std::array<std::byte, 32>;
Sha256 sha256(ByteSpan bytes);
std::string hex_of(const Sha256& digest);

struct IndexGeometry {
    std::uint32_t block_bytes = 0;
    std::uint64_t volume_bytes = 0;
    std::uint64_t sequence = 0;  // of the point that it was written for

    std::uint64_t block_count() const { return (volume_bytes + block_bytes - 1) / block_bytes; }
    bool operator==(const IndexGeometry&) const = default;
};

struct WrittenIndex {
    ObjectId id;
    std::uint64_t entry_count = 0;
    std::uint64_t object_bytes = 0;
    Sha256 sha256{};
};

// Entries in the order of their blocks, from the first to the last, in bounded memory.
class IndexWriter {
  public:
    static Result<IndexWriter> begin(ObjectStore& store, const Uuid& vault, ObjectId id,
                                     const IndexGeometry& geometry);
    // The place of a segment in this index's list.
    std::uint32_t segment(const SegmentRef& ref);
    // Zeros that follow each other become one entry.
    Status add(const IndexEntry& entry);
    Result<WrittenIndex> finish();

  private:
    struct Page {
        std::uint64_t first_block;
        std::uint64_t end_block;
        std::uint32_t crc;
    };
    static constexpr std::size_t kChunkBytes = std::size_t{1} << 20;

    IndexWriter() = default;
    Status put(const IndexEntry& entry);
    void end_page();
    Status append(ByteSpan bytes);
    Status write_chunk(std::size_t bytes);
    std::vector<std::byte> table() const;

    std::unique_ptr<ObjectUpload> upload_;
    ObjectId id_;
    IndexGeometry geometry_;
    std::vector<std::byte> chunk_;
    std::uint64_t written_bytes_ = 0;
    std::vector<SegmentRef> segments_;
    std::vector<std::pair<SegmentRef, std::uint32_t>> places_;  // sorted by ref
    std::vector<std::byte> page_;
    std::uint64_t page_first_ = 0;
    std::vector<Page> pages_;
    std::uint64_t entry_count_ = 0;
    std::uint64_t end_block_ = 0;
    std::optional<IndexEntry> zeros_;  // that may go on
};

// An index that is there. Safe to use from several threads.
class Index {
  public:
    using Entries = std::vector<IndexEntry>;

    // `expected`: what the point says that the table's digest is.
    static Result<Index> open(std::shared_ptr<ObjectStore> store, const Uuid& vault,
                              const ObjectId& id, const std::optional<Sha256>& expected);

    const ObjectId& id() const { return id_; }
    const IndexGeometry& geometry() const { return geometry_; }
    const std::vector<SegmentRef>& segments() const { return segments_; }
    std::uint64_t entry_count() const { return entry_count_; }
    std::size_t page_count() const { return pages_.size(); }
    // The page that may have the block or, if none has, the first one behind it; page_count():
    // none.
    std::size_t page_of(std::uint64_t block) const;
    std::uint64_t page_first_block(std::size_t page) const { return pages_[page].first_block; }
    std::uint64_t page_end_block(std::size_t page) const { return pages_[page].end_block; }
    Result<std::shared_ptr<const Entries>> read_page(std::size_t page) const;

  private:
    struct Page {
        std::uint64_t first_block;
        std::uint64_t end_block;
        std::uint32_t crc;
    };
    Index() = default;
    Status decode(ByteSpan table, std::uint64_t contents_bytes);
    Status decode_entries(ByteSpan raw, const Page& page, Entries& entries) const;

    std::shared_ptr<ObjectStore> store_;
    ObjectId id_;
    std::string name_;
    IndexGeometry geometry_;
    std::uint32_t page_entries_ = 0;
    std::uint64_t entry_count_ = 0;
    std::vector<SegmentRef> segments_;
    std::vector<Page> pages_;
};

// Walks an index in order, a page in memory.
class IndexCursor {
  public:
    explicit IndexCursor(const Index& index) : index_(&index) {}
    // Nothing behind the last one.
    Result<std::optional<IndexEntry>> next();

  private:
    const Index* index_;
    std::size_t page_ = 0;
    std::size_t at_ = 0;
    std::shared_ptr<const Index::Entries> entries_;
};

}  // namespace towline
