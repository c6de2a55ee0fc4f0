// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <vector>

#include "userspace/vault/liveness.hpp"
#include "userspace/vault/pool_liveness.hpp"
#include "userspace/vault/series_log.hpp"
#include "userspace/vault/stored_group.hpp"

namespace towline {

struct DeleteReport {
    std::vector<std::uint64_t> deleted;
    std::vector<std::uint64_t> pinned;  // a reader has them: still there
};

struct CollectReport {
    std::uint64_t bytes_before = 0;
    std::uint64_t bytes_after = 0;
    std::uint64_t indexes_removed = 0;
    std::uint64_t segments_removed = 0;
    std::uint64_t segments_rewritten = 0;
    std::vector<Error> left;            // segments that were to be rewritten, and are damaged
    std::uint64_t segments_pinned = 0;  // that were to go or to shrink, and a run may need

    void add(const CollectReport& other);
};

// For a person: what stays for runs that are going on.
std::string pinned_text(const CollectReport& report);

// Deletes points of a name, and gives their space back. Beside readers and a writer: what either
// needs is left alone.
class Collector {
  public:
    struct Options {
        // A segment is rewritten when more than this share of it is of no use.
        double dead_share_max = 0.05;
        // False: indexes and log alone. Where equal blocks are kept once, the segments of all names
        // are looked at together, and once is enough.
        bool segments = true;
        // Where names share segments: so many blocks in memory, and as many passes as that takes.
        std::size_t live_blocks_max = PoolLiveness::kBlocksMax;
        std::function<void(std::uint64_t done, std::uint64_t total)> progress = [](auto, auto) {};
    };

    Collector(std::shared_ptr<Vault> vault, std::string series, Options options)
        : log_(vault, std::move(series)), vault_(std::move(vault)), options_(std::move(options)) {}
    Collector(std::shared_ptr<Vault> vault, std::string series)
        : Collector(std::move(vault), std::move(series), Options{}) {}

    // Durable when it returns: they are no longer shown. kBusy for the newest one while a run goes
    // on.
    Result<DeleteReport> delete_points(const std::vector<std::uint64_t>& numbers);
    // Removes what nobody needs. Everything it finds may be left over of something that was killed.
    Result<CollectReport> collect();

  private:
    using Indexes = std::vector<std::pair<ObjectId, std::uint64_t>>;  // with their bytes
    // Generations, and their bytes.
    using Generations = std::map<std::uint32_t, std::uint64_t>;
    using SegmentBytes = std::map<SegmentKey, Generations>;

    struct Seen {
        Indexes indexes;  // listed before the log was read, as the segments
        SegmentBytes segments;
        SeriesState state;
        std::set<Uuid> spared;   // writers whose segments an unfinished run needs
        bool abandoned = false;  // nobody is writing that run
    };

    // Of segments that names share.
    struct PoolSeen {
        PoolSeen(std::size_t first_shard, std::size_t blocks_max) : live(first_shard, blocks_max) {}
        // Of all names, by their entries: what they show is in `live`. Not by their ids, which
        // sources draw, so that one could pass its point off as another's.
        std::set<std::pair<std::string, std::uint64_t>> points;
        std::set<Uuid> spared;
        PoolLiveness live;
    };

    bool pooled() const { return vault_->config().dedup.has_value(); }
    Result<Indexes> list_indexes() const;
    Result<SegmentBytes> list_segments() const;
    Result<SeriesState> read_log() const;
    Result<Seen> look() const;
    Status collect_own(const Seen& seen, CollectReport& report) const;
    Status collect_pool(CollectReport& report) const;
    Result<std::size_t> collect_shards(std::size_t first, SegmentBytes segments,
                                       CollectReport& report) const;
    Status collect_log(const SeriesState& state) const;
    Status collect_indexes(const Seen& seen, CollectReport& report) const;
    Status look_at_pool(PoolSeen& seen) const;
    bool wasteful(const SegmentKey& key, const Generations& generations,
                  const PoolSeen& seen) const;
    bool sparse(std::uint64_t bytes, const std::vector<LiveBlock>& live) const;
    static void count_segments(const SegmentBytes& segments, CollectReport& report);
    Status collect_segments(const SegmentBytes& segments, const std::set<Uuid>& spared,
                            const Liveness::Segments& live, CollectReport& report) const;
    Status compact(const SegmentKey& key, std::uint32_t generation, std::uint64_t bytes,
                   const std::vector<LiveBlock>& live, CollectReport& report) const;
    Result<std::uint64_t> rewrite(const SegmentKey& key, std::uint32_t generation,
                                  const std::vector<LiveBlock>& live) const;
    Status refuse_damaged(const OpenSegment& segment, const StoredGroup& group,
                          const std::vector<std::size_t>& kept) const;
    ObjectId segment_id(const SegmentKey& key, std::uint32_t generation) const;

    SeriesLog log_;
    std::shared_ptr<Vault> vault_;
    Options options_;
};

}  // namespace towline
