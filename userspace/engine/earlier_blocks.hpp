// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cbt/range_hasher.hpp"

namespace towline {

// What earlier sessions of a resumed run brought, as one reading found it, for another reading to
// find the same. Four bytes a block that is not zeros are kept of a reading, and of so many blocks
// as there is room for; of those behind, the second reading shows only that they can be read.
class EarlierBlocks {
  public:
    static constexpr std::size_t kKeptMax = std::size_t{4} << 20;  // 256 GiB in blocks of 64 KiB

    explicit EarlierBlocks(ChangeMap blocks, std::size_t kept_max = kKeptMax);

    const ChangeMap& blocks() const { return blocks_; }
    // Both readings tell pieces in the order of the blocks; the first one may have others between.
    void note(const HashPass::Piece& piece);
    // Before the second reading: what came again is not as it was.
    void leave_out(const ChangeMap& came_again) { blocks_.subtract(came_again); }
    void check(const HashPass::Piece& piece);
    // The first block that the second reading, now at its end, did not find as it was, or not at
    // all.
    std::optional<std::uint64_t> first_wrong();

  private:
    bool same(std::uint64_t block, Hash128 hash);

    ChangeMap blocks_;
    ChangeMap with_data_;              // that have a hash among kept_
    std::vector<std::uint32_t> kept_;  // in the order of their blocks
    std::size_t kept_max_;
    std::uint64_t kept_to_block_ = UINT64_MAX;  // nothing is kept of this one and those behind
    std::uint64_t next_ = 0;                    // the second reading has come to
    std::uint64_t ranked_block_ = 0;            // kept_[rank_] is of the next one with data
    std::size_t rank_ = 0;
    std::optional<std::uint64_t> wrong_;
};

// The first `count_max` marked blocks, which are marked no more in `map`.
ChangeMap take_front(ChangeMap& map, std::size_t count_max);

}  // namespace towline
