// SPDX-License-Identifier: Apache-2.0
// One sweep over all indexes that any of the points has, the newest first. At each block the points
// are shared out: a point shows the first of its own indexes that has the block. So a block's
// version is live if any point is left for it.

#include "userspace/vault/liveness.hpp"

#include <algorithm>

#include "io/checksum.hpp"
#include "userspace/vault/index_sweep.hpp"

namespace towline {

namespace {

using PointSet = std::vector<std::uint64_t>;  // a bit a point

struct SharedIndex {
    Index index;
    PointSet points;
};

void set_bit(PointSet& set, std::size_t at) {
    set[at / 64] |= std::uint64_t{1} << (at % 64);
}

// Takes from `left` what is in `of`; what that was.
bool take(PointSet& left, const PointSet& of, PointSet& taken) {
    bool any = false;
    for (std::size_t word = 0; word < left.size(); ++word) {
        taken[word] = left[word] & of[word];
        left[word] &= ~of[word];
        any |= taken[word] != 0;
    }
    return any;
}

// All indexes of the points' volume at this place, the newest first.
Result<std::vector<SharedIndex>> open_all(const Vault& vault, const std::string& series,
                                          std::span<const Point> points, std::size_t volume) {
    std::map<ObjectId, std::size_t, decltype([](const ObjectId& a, const ObjectId& b) {
                 return std::pair(a.writer, a.number) < std::pair(b.writer, b.number);
             })>
        places;
    std::vector<SharedIndex> shared;
    for (std::size_t at = 0; at < points.size(); ++at) {
        if (points[at].volumes.size() <= volume) continue;
        for (const PointIndex& each : points[at].volumes[volume].indexes) {
            const ObjectId id{vault_format::ObjectKind::kIndex, series, each.writer, each.serial};
            const auto [place, added] = places.emplace(id, shared.size());
            if (added) {
                shared.push_back(
                    {TRY(Index::open(vault.shared_store(), vault.id(), id, each.sha256)),
                     PointSet((points.size() + 63) / 64)});
            }
            set_bit(shared[place->second].points, at);
        }
    }
    std::ranges::stable_sort(shared, std::ranges::greater{}, [](const SharedIndex& each) {
        return each.index.geometry().sequence;
    });
    return shared;
}

using Visit = std::function<void(const IndexSweep::Piece&, const IndexSweep::Hit&, const Index&,
                                 const PointSet& points, std::size_t volume)>;

// Calls for each stored block that is shown by somebody, with those who show it.
Status for_each_shown(const Vault& vault, const std::string& series, std::span<const Point> points,
                      const Visit& visit, const Liveness::Progress& progress) {
    std::size_t volumes = 0;
    for (const Point& each : points)
        volumes = std::max(volumes, each.volumes.size());
    for (std::size_t volume = 0; volume < volumes; ++volume) {
        const auto shared = TRY(open_all(vault, series, points, volume));
        std::vector<const Index*> indexes;
        std::uint64_t block_count = 0;
        for (const SharedIndex& each : shared) {
            indexes.push_back(&each.index);
            block_count = std::max(block_count, each.index.geometry().block_count());
        }
        IndexSweep sweep(indexes);
        PointSet all((points.size() + 63) / 64);
        for (std::size_t at = 0; at < points.size(); ++at)
            set_bit(all, at);
        PointSet left = all;
        PointSet taken = all;
        std::uint64_t pieces = 0;
        while (const auto piece = TRY(sweep.next())) {
            left = all;
            for (const IndexSweep::Hit& hit : piece->hits) {
                const SharedIndex& its = shared[hit.index];
                if (take(left, its.points, taken) && !hit.entry.zeros())
                    visit(*piece, hit, its.index, taken, volume);
            }
            if (progress && ++pieces % 65536 == 0) progress(piece->first, block_count);
        }
    }
    return {};
}

LiveBlock live_block(const IndexSweep::Piece& piece, const IndexSweep::Hit& hit,
                     const Index& index) {
    const BlockCheck check = BlockCheck::with_seed(index.segments()[hit.entry.segment].seed);
    LiveBlock block{.origin = hit.entry.origin,
                    .check = hit.entry.check,
                    .start = check.of({}, piece.first * index.geometry().block_bytes),
                    .block = piece.first};
    block.stored_bytes = hit.entry.stored_bytes & 0xffffffU;
    block.kind = hit.entry.kind;
    return block;
}

}  // namespace

Status Liveness::for_each(const Vault& vault, const std::string& series,
                          std::span<const Point> points, const Each& each,
                          const Progress& progress) {
    return for_each_shown(
        vault, series, points,
        [&](const IndexSweep::Piece& piece, const IndexSweep::Hit& hit, const Index& index,
            const PointSet&, std::size_t) {
            const SegmentRef& ref = index.segments()[hit.entry.segment];
            each({ref.writer, ref.serial}, live_block(piece, hit, index));
        },
        progress);
}

Result<Liveness::Segments> Liveness::of(const Vault& vault, const std::string& series,
                                        std::span<const Point> points, const Progress& progress) {
    Segments segments;
    TRY_STATUS(for_each(
        vault, series, points,
        [&](const SegmentKey& segment, const LiveBlock& block) {
            std::vector<LiveBlock>& blocks = segments[segment];
            // A version stands in several indexes (merged ones), but at this one block.
            if (blocks.empty() || blocks.back() != block) blocks.push_back(block);
        },
        progress));
    for (auto& [key, blocks] : segments) {
        std::ranges::sort(blocks, {}, &LiveBlock::origin);
        // A volume that is at another place in other points was met twice.
        const auto again = std::ranges::unique(blocks);
        blocks.erase(again.begin(), again.end());
    }
    return segments;
}

Result<Liveness::Hits> Liveness::hit_by(const Vault& vault, const std::string& series,
                                        std::span<const Point> points, const IsBad& is_bad) {
    Hits hits;
    TRY_STATUS(for_each_shown(
        vault, series, points,
        [&](const IndexSweep::Piece& piece, const IndexSweep::Hit& hit, const Index& index,
            const PointSet& shown_by, std::size_t place) {
            const SegmentRef& ref = index.segments()[hit.entry.segment];
            if (!is_bad({ref.writer, ref.serial}, hit.entry.origin)) return;
            for (std::size_t at = 0; at < points.size(); ++at) {
                if ((shown_by[at / 64] >> (at % 64) & 1) == 0) continue;
                const PointVolume& volume = points[at].volumes[place];
                const std::uint64_t offset = piece.first * volume.block_bytes;
                if (offset >= volume.bytes) continue;
                hits[{at, place}].push_back(
                    {offset, std::min<std::uint64_t>(volume.block_bytes, volume.bytes - offset)});
            }
        },
        {}));
    for (auto& [at, extents] : hits)
        extents = normalized(std::move(extents));
    return hits;
}

}  // namespace towline
