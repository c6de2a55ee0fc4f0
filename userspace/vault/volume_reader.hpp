// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <list>
#include <map>
#include <memory>
#include <mutex>

#include "userspace/vault/block_fetcher.hpp"
#include "userspace/vault/series_log.hpp"
#include "userspace/vault/vault_name.hpp"

namespace towline {

// Entries that are in no index yet, sorted, without overlap.
struct IndexLayer {
    std::vector<IndexEntry> entries;
    std::vector<SegmentRef> segments;
};

// A volume of a point, read at any place. Every byte that comes out of it has passed the CRC that
// was computed when its block was read at the source. Safe to use from several threads.
class VolumeReader {
  public:
    // What a run of blocks is: stored one by one, or zeros.
    struct Located {
        std::uint64_t first = 0;
        std::uint64_t count = 0;
        bool zeros = false;
        IndexEntry entry;      // of a stored block; count is 1
        SegmentRef segment{};  // the same
    };

    static Result<std::shared_ptr<VolumeReader>> open(const std::shared_ptr<Vault>& vault,
                                                      const std::string& series,
                                                      const PointVolume& volume);

    // Those of `volume`, the newest first.
    static Result<std::vector<Index>> open_indexes(const std::shared_ptr<Vault>& vault,
                                                   const std::string& series,
                                                   const PointVolume& volume);

    // What a run has brought so far: layers, then indexes, each the newest first. Only `volume`'s
    // geometry is looked at.
    static std::shared_ptr<VolumeReader> over(std::shared_ptr<Vault> vault,
                                              const std::string& series, const PointVolume& volume,
                                              std::vector<IndexLayer> layers,
                                              std::vector<Index> indexes);

    const std::string& name() const { return volume_.name; }
    std::uint64_t size_bytes() const { return volume_.bytes; }
    std::uint32_t block_bytes() const { return volume_.block_bytes; }
    std::uint64_t block_count() const;
    std::uint32_t plain_bytes(std::uint64_t block) const;

    // Any range within the volume. An error says which bytes cannot be had, and why.
    Status read(std::uint64_t offset_bytes, MutableByteSpan into);
    // The same, for the blocks themselves: in order, without gaps. At most kLocateMax of them.
    Result<std::vector<Located>> locate(std::uint64_t first, std::uint64_t count);
    static constexpr std::uint64_t kLocateMax = 4096;
    // The first block at or behind `from` that may be something else than zeros; block_count() when
    // there is none. Reads indexes alone.
    Result<std::uint64_t> next_data(std::uint64_t from);
    // The first block at or behind `from` that is zeros, or block_count().
    Result<std::uint64_t> next_zeros(std::uint64_t from);

  private:
    using PageKey = std::pair<std::size_t, std::size_t>;  // index, page
    static constexpr std::size_t kPagesMax = 2048;        // about 64 MiB
    static constexpr std::size_t kReadBytesMax = std::size_t{1} << 20;

    VolumeReader(std::shared_ptr<Vault> vault, const std::string& series, PointVolume volume)
        : volume_(std::move(volume)), fetcher_(std::move(vault), series) {}
    Result<std::shared_ptr<const Index::Entries>> page(std::size_t index, std::size_t page);
    static void fill(std::span<const IndexEntry> entries, std::span<const SegmentRef> segments,
                     std::uint64_t first, std::vector<Located>& blocks, std::uint64_t& missing);
    Status overlay(std::size_t index, std::uint64_t first, std::vector<Located>& blocks,
                   std::uint64_t& missing);
    Status read_blocks(std::uint64_t offset_bytes, MutableByteSpan into);
    Status read_stored(std::span<const Located> blocks, std::uint64_t offset_bytes,
                       MutableByteSpan into);
    Status decode(const Located& block, ByteSpan stored, MutableByteSpan plain) const;
    void copy_out(std::uint64_t block, ByteSpan plain, std::uint64_t offset_bytes,
                  MutableByteSpan into) const;

    PointVolume volume_;
    std::vector<IndexLayer> layers_;  // the newest first; above the indexes
    std::vector<Index> indexes_;      // the newest first
    BlockFetcher fetcher_;
    std::mutex mutex_;
    std::map<PageKey,
             std::pair<std::shared_ptr<const Index::Entries>, std::list<PageKey>::iterator>>
        pages_;                 // under mutex_
    std::list<PageKey> order_;  // under mutex_, the least used first
};

// A point that is held: it is not deleted while this lives.
class OpenPoint {
  public:
    // `id`: the whole uuid or an unambiguous beginning of it, or "latest".
    static Result<OpenPoint> open(std::shared_ptr<Vault> vault, const std::string& series,
                                  const std::string& id);
    // That which a user named, wherever its vault is.
    static Result<OpenPoint> open(const VaultName& name, const KeySource& keys);

    const std::shared_ptr<Vault>& vault() const { return vault_; }
    const Point& point() const { return point_; }
    const std::string& series() const { return series_; }
    Result<std::shared_ptr<VolumeReader>> volume(std::size_t index) const;

  private:
    OpenPoint() = default;
    std::shared_ptr<Vault> vault_;
    std::string series_;
    Point point_;
    std::unique_ptr<ObjectHold> pin_;
};

// The one point of this id; kRefused that says what there is instead.
Result<Point> find_point(const SeriesState& state, const std::string& id, const std::string& name);

}  // namespace towline
