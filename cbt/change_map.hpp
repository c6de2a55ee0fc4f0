// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "cbt/extent.hpp"
#include "io/bytes.hpp"
#include "io/result.hpp"

namespace towline {

// A run of neighbouring blocks.
struct BlockRun {
    std::uint64_t first = 0;
    std::uint64_t count = 0;
    std::uint64_t end() const { return first + count; }
    bool operator==(const BlockRun&) const = default;
};

// One bit a block of a volume. What it stands for (changed, pending, acknowledged) is its owner's
// business. Marks round outward: an extent marks every block that it touches.
class ChangeMap {
  public:
    ChangeMap() = default;
    // `block_bytes` is a power of two from 512 bytes to 64 MiB.
    ChangeMap(std::uint64_t volume_bytes, std::uint32_t block_bytes);

    std::uint64_t volume_bytes() const { return volume_bytes_; }
    std::uint32_t block_bytes() const { return block_bytes_; }
    std::uint64_t block_count() const { return block_count_; }
    // Bytes that the map itself takes in memory.
    std::size_t memory_bytes() const { return words_.size() * sizeof(std::uint64_t); }

    void mark(Extent extent);
    void mark_blocks(BlockRun run);
    void clear_blocks(BlockRun run);
    void mark_all();
    void clear_all();
    bool test(std::uint64_t block) const;
    bool all_set(BlockRun run) const;
    bool any_set(BlockRun run) const;

    bool empty() const;
    std::uint64_t marked_blocks() const;
    // Bytes of the marked blocks; the last one counts as long as the volume reaches.
    std::uint64_t marked_bytes() const;

    // The first run of marked blocks at or after `from`, cut at `count_max` blocks.
    std::optional<BlockRun> next_run(std::uint64_t from,
                                     std::uint64_t count_max = UINT64_MAX) const;

    // Byte range of a run; the last block ends where the volume does.
    Extent extent_of(BlockRun run) const;

    // Both maps must be of one geometry (CHECKed): convert with resampled() before.
    void merge(const ChangeMap& other);  // this |= other
    // this |= bits as the kernel's trackers have them: block n is bit n from the lowest of the
    // first byte on. At least a bit a block; what lies behind the last block is passed over.
    void merge_bits(ByteSpan bits);
    void subtract(const ChangeMap& other);  // this &= ~other
    bool operator==(const ChangeMap&) const = default;

    // The same marks at another block size or volume size: rounded outward, what lies past the end
    // is dropped.
    ChangeMap resampled(std::uint64_t volume_bytes, std::uint32_t block_bytes) const;

    // Of one geometry and the same marks: equal digests. Binds a resumed run to its plan.
    std::uint64_t digest() const;

    // Persistent form (docs/format-state.md): header, runs, CRC; sparse maps are small whatever the
    // volume.
    std::vector<std::byte> save() const;
    static Result<ChangeMap> load(ByteSpan saved);

  private:
    std::uint64_t volume_bytes_ = 0;
    std::uint32_t block_bytes_ = 0;
    std::uint64_t block_count_ = 0;
    std::vector<std::uint64_t> words_;
};

}  // namespace towline
