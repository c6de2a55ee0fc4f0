// SPDX-License-Identifier: Apache-2.0
#pragma once

// Everything that is computed over a block as it passes: the CRC that guards a hop, the 128-bit
// hash that attests contents, and whether the block is all zeros.

#include <array>
#include <compare>
#include <cstdint>
#include <span>
#include <vector>

#include "io/bytes.hpp"
#include "io/uuid.hpp"

namespace towline {

bool is_zero(ByteSpan bytes);

std::uint32_t crc32c(ByteSpan bytes, std::uint32_t start = 0);

class BlockHasher;
struct CheckedBlock;

// Seeds the check of a block with its volume and place, so that a block that is right in itself but
// belongs elsewhere fails its check.
class BlockCheck {
  public:
    // One of several volumes that are side by side: its blocks are seeded by where they lie in it.
    struct Part {
        std::uint64_t start_bytes = 0;
        Uuid volume;
    };
    explicit BlockCheck(const Uuid& volume);
    explicit BlockCheck(std::span<const Part> parts);  // in order, the first at 0
    // As another one's seed() was: a vault keeps it with the blocks.
    static BlockCheck with_seed(std::uint64_t seed) { return BlockCheck(seed); }
    std::uint64_t seed() const { return volume_seed_; }
    std::uint32_t of(ByteSpan block, std::uint64_t offset_bytes) const;

  private:
    explicit BlockCheck(std::uint64_t seed) : volume_seed_(seed) {}
    friend CheckedBlock check_block(const BlockCheck&, const BlockHasher&, ByteSpan, std::uint64_t);
    std::uint32_t start_at(std::uint64_t offset_bytes) const;
    struct SeededPart {
        std::uint64_t start_bytes = 0;
        std::uint64_t seed = 0;
    };
    std::uint64_t volume_seed_;              // of the first
    std::vector<SeededPart> further_parts_;  // in order
};

struct Hash128 {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    auto operator<=>(const Hash128&) const = default;
    bool is_zero_block() const { return low == 0 && high == 0; }
};

// XXH3-128 under a secret drawn for the run, so that nobody can prepare two blocks that compare
// equal. A block of zeros has the hash {0, 0} by definition: holes are compared without being read.
class BlockHasher {
  public:
    using Seed = std::array<std::byte, 32>;
    static constexpr std::size_t kSecretBytes = 192;

    explicit BlockHasher(const Seed& seed);
    Hash128 of(ByteSpan block) const;

  private:
    friend CheckedBlock check_block(const BlockCheck&, const BlockHasher&, ByteSpan, std::uint64_t);
    alignas(64) std::array<std::byte, kSecretBytes> secret_{};
};

struct CheckedBlock {
    std::uint32_t crc = 0;
    Hash128 hash;
    bool zero = false;
};

// Zero test, CRC and hash of one block in one pass through memory. A zero block has no CRC: it is
// never sent.
CheckedBlock check_block(const BlockCheck& check, const BlockHasher& hasher, ByteSpan block,
                         std::uint64_t offset_bytes);

}  // namespace towline
