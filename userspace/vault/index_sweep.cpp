// SPDX-License-Identifier: Apache-2.0
// A sweep over sorted ranges: a heap of the entries that begin later, and the few that hold here.
// An entry that is a block holds for one piece; zeros hold until their end or the next begin.

#include "userspace/vault/index_sweep.hpp"

#include <algorithm>

namespace towline {

namespace {

bool later(const auto& a, const auto& b) {
    return a.entry.block > b.entry.block;
}

}  // namespace

IndexSweep::IndexSweep(std::span<const Index* const> indexes) {
    for (const Index* each : indexes)
        cursors_.emplace_back(*each);
}

Status IndexSweep::fetch(std::size_t index) {
    const auto entry = TRY(cursors_[index].next());
    if (!entry) return {};
    waiting_.push_back({index, *entry});
    std::ranges::push_heap(waiting_, [](const auto& a, const auto& b) { return later(a, b); });
    return {};
}

Result<std::optional<IndexSweep::Piece>> IndexSweep::next() {
    if (!std::exchange(begun_, true)) {
        for (std::size_t i = 0; i < cursors_.size(); ++i)
            TRY_STATUS(fetch(i));
    }
    // Those that ended with the last piece make room for what follows them.
    for (std::size_t i = active_.size(); i-- > 0;) {
        if (active_[i].entry.end() != at_) continue;
        const std::size_t index = active_[i].index;
        active_.erase(active_.begin() + static_cast<std::ptrdiff_t>(i));
        TRY_STATUS(fetch(index));
    }
    if (active_.empty()) {
        if (waiting_.empty()) return std::optional<Piece>();
        at_ = waiting_.front().entry.block;
    }
    while (!waiting_.empty() && waiting_.front().entry.block == at_) {
        std::ranges::pop_heap(waiting_, [](const auto& a, const auto& b) { return later(a, b); });
        active_.push_back({waiting_.back().index, waiting_.back().entry});
        waiting_.pop_back();
    }
    std::uint64_t end = waiting_.empty() ? UINT64_MAX : waiting_.front().entry.block;
    for (const Hit& each : active_)
        end = std::min(end, each.entry.end());
    std::ranges::sort(active_, {}, &Hit::index);
    hits_ = active_;
    Piece piece{.first = at_, .count = end - at_, .hits = hits_};
    at_ = end;
    return std::optional(piece);
}

Result<WrittenIndex> merge_indexes(ObjectStore& store, const Uuid& vault, const ObjectId& id,
                                   const IndexGeometry& geometry,
                                   std::span<const Index* const> newest_first, bool drop_zeros) {
    static constexpr std::uint32_t kUnknown = UINT32_MAX;
    IndexWriter writer = TRY(IndexWriter::begin(store, vault, id, geometry));
    std::vector<std::vector<std::uint32_t>> places;
    for (const Index* each : newest_first)
        places.emplace_back(each->segments().size(), kUnknown);
    IndexSweep sweep(newest_first);
    const std::uint64_t block_count = geometry.block_count();
    while (const auto piece = TRY(sweep.next())) {
        if (piece->first >= block_count) break;
        const IndexSweep::Hit& newest = piece->hits.front();
        IndexEntry entry = newest.entry;
        if (entry.zeros() && drop_zeros) continue;
        entry.block = piece->first;
        entry.count = std::min(piece->count, block_count - piece->first);
        if (!entry.zeros()) {
            std::uint32_t& place = places[newest.index][entry.segment];
            if (place == kUnknown)
                place = writer.segment(newest_first[newest.index]->segments()[entry.segment]);
            entry.segment = place;
        }
        TRY_STATUS(writer.add(entry));
    }
    return writer.finish();
}

}  // namespace towline
