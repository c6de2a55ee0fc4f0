// SPDX-License-Identifier: Apache-2.0
// Segments as blocks come, indexes when the run is sealed. Memory: a chunk of a segment, and the
// entries of at most kEntriesMax blocks; more are written away sorted, and merged at the seal.

#include "userspace/vault/run_volume.hpp"

#include <algorithm>
#include <ranges>

#include "userspace/vault/index_sweep.hpp"

namespace towline {

namespace format = vault_format;
using format::ObjectKind;

IndexEntry index_entry(const SegmentEntry& entry, std::uint32_t place) {
    return {.block = entry.block,
            .count = entry.zeros() ? entry.zero_count : 1,
            .segment = entry.zeros() ? 0 : place,
            .origin = entry.origin,
            .kind = entry.kind,
            .stored_bytes = entry.stored_bytes,
            .check = entry.check};
}

RunVolume::RunVolume(RunShared& shared, VolumePart part, const PointVolume* base)
    : shared_(shared), part_(std::move(part)), seed_(BlockCheck(part_.source).seed()) {
    if (base != nullptr) base_ = *base;
}

Status RunVolume::load(const OpenSegment& segment) {
    const std::uint32_t place =
        place_of({segment.id.writer, segment.id.number, segment.table.seed});
    for (const SegmentEntry& entry : segment.table.entries) {
        entries_.push_back(index_entry(entry, place));
        stored_bytes_ += entry.stored_bytes;
        count_changed(entry.block, entries_.back().count);
    }
    return {};
}

void RunVolume::count_changed(std::uint64_t first, std::uint64_t count) {
    const std::uint64_t offset = first * shared_.block_bytes;
    changed_bytes_ += std::min(count * shared_.block_bytes, part_.bytes - offset);
}

// --- blocks -------------------------------------------------------------------------------------

std::uint32_t RunVolume::place_of(const SegmentRef& ref) {
    if (segments_.empty() || segments_.back() != ref) segments_.push_back(ref);
    return static_cast<std::uint32_t>(segments_.size() - 1);
}

Result<SegmentWriter*> RunVolume::segment() {
    if (segment_) return &*segment_;
    segment_serial_ = shared_.next_segment++;
    const ObjectId id{ObjectKind::kSegment, shared_.vault->segment_series(shared_.series),
                      shared_.writer, segment_serial_, format::kGenerationFirst};
    segment_ = TRY(SegmentWriter::begin(*shared_.vault, id,
                                        {.run = shared_.run,
                                         .source = part_.source,
                                         .seed = seed_,
                                         .volume_bytes = part_.bytes,
                                         .epoch = shared_.epoch,
                                         .block_bytes = shared_.block_bytes,
                                         .identities = shared_.twins != nullptr,
                                         .entries = {},
                                         .proofs = {}}));
    return &*segment_;
}

// Of a twin nothing is put into the segment. So a run that is cut off has not acknowledged the
// block, and gets it again: what is unfinished hangs on no block of another run.
Status RunVolume::add_twin(const Block& block, const TwinFinder::Twin& twin) {
    // The check is this volume's at this place; so is the seed that it hangs on.
    entries_.push_back({.block = block.block,
                        .count = 1,
                        .segment = place_of({twin.segment.writer, twin.segment.serial, seed_}),
                        .origin = twin.origin,
                        .kind = twin.kind,
                        .stored_bytes = twin.stored_bytes,
                        .check = block.check});
    count_changed(block.block, 1);
    shared_bytes_ += twin.stored_bytes;
    return entries_.size() >= kEntriesMax ? spill() : Status{};
}

Status RunVolume::append(const Block& block, ByteSpan stored) {
    BlockIdentity identity{};
    // What is left at a volume's end is no block that another one could have.
    if (shared_.twins && block.plain.size() == shared_.block_bytes) {
        identity = shared_.twins->identity_of(block.plain);
        if (const auto twin = shared_.twins->find(identity, block.plain))
            return add_twin(block, *twin);
    }
    SegmentWriter* segment = TRY(this->segment());
    const std::uint32_t origin = TRY(segment->append(
        {.block = block.block, .kind = block.kind, .check = block.check, .identity = identity},
        stored));
    entries_.push_back({.block = block.block,
                        .count = 1,
                        .segment = place_of({shared_.writer, segment_serial_, seed_}),
                        .origin = origin,
                        .kind = block.kind,
                        .stored_bytes = static_cast<std::uint32_t>(stored.size()),
                        .check = block.check});
    count_changed(block.block, 1);
    stored_bytes_ += stored.size();
    return segment->full() ? flush() : Status{};
}

Status RunVolume::zeros(std::uint64_t first, std::uint64_t count) {
    SegmentWriter* segment = TRY(this->segment());
    segment->zeros(first, count);
    entries_.push_back({.block = first, .count = count, .kind = format::kKindZeros});
    count_changed(first, count);
    return {};
}

Status RunVolume::flush() {
    if (!segment_) return {};
    TRY_STATUS(segment_->commit());
    if (shared_.twins) shared_.twins->add({shared_.writer, segment_serial_}, segment_->table());
    segment_.reset();
    return entries_.size() >= kEntriesMax ? spill() : Status{};
}

// --- indexes ------------------------------------------------------------------------------------

ObjectId RunVolume::next_index() {
    return {ObjectKind::kIndex, shared_.series, shared_.writer, shared_.next_index++};
}

IndexGeometry RunVolume::geometry(std::uint64_t sequence) const {
    return {.block_bytes = shared_.block_bytes, .volume_bytes = part_.bytes, .sequence = sequence};
}

Result<WrittenIndex> RunVolume::write_entries(std::uint64_t sequence, bool drop_zeros) {
    std::ranges::stable_sort(entries_, {}, &IndexEntry::block);
    IndexWriter writer = TRY(IndexWriter::begin(shared_.vault->store(), shared_.vault->id(),
                                                next_index(), geometry(sequence)));
    for (IndexEntry& each : entries_) {
        if (each.zeros() && drop_zeros) continue;
        if (!each.zeros()) each.segment = writer.segment(segments_[each.segment]);
        TRY_STATUS(writer.add(each));
    }
    entries_.clear();
    segments_.clear();
    return writer.finish();
}

Status RunVolume::spill() {
    if (entries_.empty()) return {};
    const WrittenIndex piece = TRY(write_entries(0, false));
    pieces_.push_back(piece.id);
    return {};
}

RunVolume::Levels RunVolume::plan_levels(std::uint64_t own_entries) const {
    Levels levels;
    if (!base_ || shared_.whole) {
        levels.level = format::kLevelWhole;
        return levels;
    }
    const auto& indexes = base_->indexes;
    std::uint64_t above = own_entries;
    for (const PointIndex& each : indexes) {
        // As many above the whole one as in it: one whole one again.
        if (each.level == format::kLevelWhole && above >= each.entries)
            return {.merged = indexes, .kept = {}, .level = format::kLevelWhole};
        above += each.entries;
    }
    auto at = indexes.begin();
    for (;;) {
        const auto end = std::find_if(
            at, indexes.end(), [&](const PointIndex& each) { return each.level != levels.level; });
        if (end - at < format::kLevelIndexesMax) break;
        levels.merged.insert(levels.merged.end(), at, end);
        ++levels.level;
        at = end;
    }
    levels.kept.assign(at, indexes.end());
    return levels;
}

// The newest first.
Result<std::vector<Index>> RunVolume::open_pieces() const {
    std::vector<Index> opened;
    for (const ObjectId& piece : std::views::reverse(pieces_))
        opened.push_back(TRY(
            Index::open(shared_.vault->shared_store(), shared_.vault->id(), piece, std::nullopt)));
    return opened;
}

Result<std::shared_ptr<VolumeReader>> RunVolume::written() const {
    IndexLayer layer{.entries = entries_, .segments = segments_};
    std::ranges::sort(layer.entries, {}, &IndexEntry::block);
    std::vector<IndexLayer> layers;
    layers.push_back(std::move(layer));
    const PointVolume geometry{
        .name = part_.name, .bytes = part_.bytes, .block_bytes = shared_.block_bytes};
    return VolumeReader::over(shared_.vault, shared_.series, geometry, std::move(layers),
                              TRY(open_pieces()));
}

Result<WrittenIndex> RunVolume::merge(const Levels& levels, std::uint64_t sequence) {
    TRY_STATUS(spill());
    std::vector<Index> opened = TRY(open_pieces());
    for (const PointIndex& each : levels.merged) {
        const ObjectId id{ObjectKind::kIndex, shared_.series, each.writer, each.serial};
        opened.push_back(
            TRY(Index::open(shared_.vault->shared_store(), shared_.vault->id(), id, each.sha256)));
    }
    std::vector<const Index*> newest_first;
    newest_first.reserve(opened.size());
    for (const Index& each : opened)
        newest_first.push_back(&each);
    return merge_indexes(shared_.vault->store(), shared_.vault->id(), next_index(),
                         geometry(sequence), newest_first, levels.level == format::kLevelWhole);
}

Result<std::vector<PointIndex>> RunVolume::write_indexes(std::uint64_t sequence) {
    const bool nothing = entries_.empty() && pieces_.empty();
    if (nothing && base_ && !shared_.whole && base_->bytes == part_.bytes) return base_->indexes;
    const Levels levels = plan_levels(entries_.size());
    const bool alone = pieces_.empty() && levels.merged.empty();
    const WrittenIndex own = alone
                                 ? TRY(write_entries(sequence, levels.level == format::kLevelWhole))
                                 : TRY(merge(levels, sequence));
    std::vector<PointIndex> indexes{{.writer = own.id.writer,
                                     .serial = own.id.number,
                                     .level = levels.level,
                                     .entries = own.entry_count,
                                     .sha256 = own.sha256}};
    indexes.insert(indexes.end(), levels.kept.begin(), levels.kept.end());
    return indexes;
}

Result<PointVolume> RunVolume::finish(std::uint64_t sequence) {
    PointVolume volume{.name = part_.name,
                       .source = part_.source,
                       .bytes = part_.bytes,
                       .block_bytes = shared_.block_bytes,
                       .changed_bytes = changed_bytes_,
                       .stored_bytes = stored_bytes_,
                       .shared_bytes = shared_bytes_};
    volume.indexes = TRY(write_indexes(sequence));
    return volume;
}

void RunVolume::list_pieces(std::vector<std::string>& names) const {
    for (const ObjectId& each : pieces_)
        names.push_back(each.object_name());
}

}  // namespace towline
