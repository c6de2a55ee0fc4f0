// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "userspace/vault/index.hpp"

namespace towline {

// Walks several indexes of a volume at once, in the order of blocks: pieces in which the same
// entries hold. Memory: a page an index.
class IndexSweep {
  public:
    struct Hit {
        std::size_t index = 0;  // as they were given
        IndexEntry entry;
    };
    struct Piece {
        std::uint64_t first = 0;
        std::uint64_t count = 0;
        std::span<const Hit> hits;  // lowest index first; at least one
    };

    explicit IndexSweep(std::span<const Index* const> indexes);
    // Nothing at the end. The piece's hits are valid until the next call.
    Result<std::optional<Piece>> next();

  private:
    struct Waiting {
        std::size_t index = 0;
        IndexEntry entry;
    };
    Status fetch(std::size_t index);

    std::vector<IndexCursor> cursors_;
    std::vector<Waiting> waiting_;  // a heap, the lowest block first
    std::vector<Hit> active_;
    std::vector<Hit> hits_;
    std::uint64_t at_ = 0;
    bool begun_ = false;
};

// One index that says what these say together, the first one being the newest. `drop_zeros`: for an
// index that stands below nothing. What lies behind the geometry's end is left out.
Result<WrittenIndex> merge_indexes(ObjectStore& store, const Uuid& vault, const ObjectId& id,
                                   const IndexGeometry& geometry,
                                   std::span<const Index* const> newest_first, bool drop_zeros);

}  // namespace towline
