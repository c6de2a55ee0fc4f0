// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <list>
#include <map>
#include <memory>
#include <mutex>

#include "userspace/vault/index.hpp"
#include "userspace/vault/segment.hpp"
#include "userspace/vault/vault.hpp"

namespace towline {

// Where a segment's blocks are now: in its first generation they lie where the index says, in a
// later one where its table does. Safe to use from several threads.
class BlockFetcher {
  public:
    BlockFetcher(std::shared_ptr<Vault> vault, const std::string& series)
        : vault_(std::move(vault)), series_(vault_->segment_series(series)) {}

    struct Wanted {
        std::uint32_t origin = 0;
        std::uint32_t stored_bytes = 0;
    };
    // Stored blocks that follow each other in the first generation, into one piece of memory, one
    // behind the other. An error names the segment.
    Status fetch(const SegmentRef& segment, std::span<const Wanted> blocks, MutableByteSpan into);

  private:
    struct Place {
        Uuid writer;
        std::uint64_t serial = 0;
        auto operator<=>(const Place&) const = default;
    };
    // A few: whoever reads in order needs one at a time.
    static constexpr std::size_t kTablesMax = 64;

    Result<std::shared_ptr<const OpenSegment>> later_generation(const SegmentRef& segment);
    Status fetch_moved(const OpenSegment& moved, std::span<const Wanted> blocks,
                       MutableByteSpan into);
    std::shared_ptr<const OpenSegment> known(const Place& place);
    void forget(const Place& place);

    std::shared_ptr<Vault> vault_;
    std::string series_;  // of the segments
    std::mutex mutex_;
    std::map<Place, std::shared_ptr<const OpenSegment>> tables_;  // under mutex_
    std::list<Place> order_;                                      // under mutex_, the oldest first
};

}  // namespace towline
