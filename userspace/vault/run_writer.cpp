// SPDX-License-Identifier: Apache-2.0
// Segments as blocks come, indexes when the run is sealed, the point last. Everything before the
// point is invisible; the point is one put. Memory: a chunk of a segment, and the entries of at
// most kEntriesMax blocks; more are written away sorted, and merged at the seal.

#include "userspace/vault/run_writer.hpp"

#include <algorithm>
#include <ranges>

#include "io/checksum.hpp"
#include "userspace/vault/index_sweep.hpp"

namespace towline {

namespace format = vault_format;
using format::ObjectKind;

namespace {

constexpr int kAppendTries = 16;

std::unexpected<Error> fenced(const std::string& series) {
    return fail(Code::kBusy, decode_series(series) +
                                 " in the vault was taken by another run meanwhile; nothing of "
                                 "this one counts");
}

// In the order in which they were put.
Result<std::vector<OpenSegment>> segments_of(const Vault& vault, const std::string& series,
                                             const Uuid& writer) {
    std::vector<ObjectId> ids;
    for (const ObjectInfo& each :
         TRY(vault.store().list(object_folder(ObjectKind::kSegment, series)))) {
        const auto id = parse_object_name(ObjectKind::kSegment, series, each.name);
        if (id && id->writer == writer) ids.push_back(*id);
    }
    std::ranges::sort(ids, {}, &ObjectId::number);
    std::vector<OpenSegment> segments;
    segments.reserve(ids.size());
    for (const ObjectId& id : ids)
        segments.push_back(TRY(open_segment(vault.store(), vault.id(), id)));
    return segments;
}

IndexEntry index_entry(const SegmentEntry& entry, std::uint32_t place) {
    return {.block = entry.block,
            .count = entry.zeros() ? entry.zero_count : 1,
            .segment = entry.zeros() ? 0 : place,
            .origin = entry.origin,
            .kind = entry.kind,
            .stored_bytes = entry.stored_bytes,
            .check = entry.check};
}

std::vector<Uuid> writers_of(const Begin& begin) {
    std::vector<Uuid> writers = begin.writers;
    writers.push_back(begin.writer);
    return writers;
}

}  // namespace

Result<std::vector<Extent>> acknowledged_extents(const Vault& vault, const std::string& series,
                                                 const Begin& unfinished) {
    std::vector<Extent> extents;
    for (const Uuid& writer : writers_of(unfinished)) {
        for (const OpenSegment& each : TRY(segments_of(vault, series, writer))) {
            const std::uint64_t block = each.table.block_bytes;
            for (const SegmentEntry& entry : each.table.entries) {
                const std::uint64_t offset = entry.block * block;
                const std::uint64_t length = (entry.zeros() ? entry.zero_count : 1) * block;
                extents.push_back({offset, std::min(length, each.table.volume_bytes - offset)});
            }
        }
    }
    return normalized(std::move(extents));
}

Result<std::vector<IndexLayer>> layers_of(const Vault& vault, const std::string& series,
                                          const Begin& unfinished) {
    std::vector<IndexLayer> layers;
    const std::vector<Uuid> writers = writers_of(unfinished);
    for (const Uuid& writer : std::views::reverse(writers)) {
        IndexLayer layer;
        for (const OpenSegment& each : TRY(segments_of(vault, series, writer))) {
            const auto place = static_cast<std::uint32_t>(layer.segments.size());
            layer.segments.push_back({writer, each.id.number, each.table.seed});
            for (const SegmentEntry& entry : each.table.entries)
                layer.entries.push_back(index_entry(entry, place));
        }
        std::ranges::sort(layer.entries, {}, &IndexEntry::block);
        layers.push_back(std::move(layer));
    }
    return layers;
}

// --- begin --------------------------------------------------------------------------------------

Result<std::unique_ptr<RunWriter>> RunWriter::begin(std::shared_ptr<Vault> vault,
                                                    const std::string& series,
                                                    std::shared_ptr<ObjectHold> held,
                                                    const Plan& plan) {
    std::unique_ptr<RunWriter> writer(
        new RunWriter(std::move(vault), series, std::move(held), plan));
    writer->before_ = TRY(writer->log_.read_newest());
    TRY_STATUS(writer->before_.refuse_damaged());
    const Point* base = writer->before_.newest();
    const bool whole = plan.state.run_mode == RunMode::kFull;
    if (base != nullptr && !whole && base->volumes.front().block_bytes != plan.block_bytes) {
        return fail(Code::kRefused, "the points of " + decode_series(series) + " have blocks of " +
                                        std::to_string(base->volumes.front().block_bytes) +
                                        " bytes; take the same (--block), or run once with --full");
    }
    writer->seed_ = BlockCheck(plan.state.owner).seed();
    if (plan.resume) TRY_STATUS(writer->join_earlier());
    TRY_STATUS(writer->take_name());
    // What earlier sessions of this run brought is written away first: what comes now is newer.
    for (const Uuid& each : writer->begin_.writers)
        TRY_STATUS(writer->load_writer(each));
    return writer;
}

Status RunWriter::join_earlier() {
    const Begin* unfinished = before_.unfinished();
    if (unfinished == nullptr || unfinished->state.run != plan_.state.run)
        return fail(Code::kRefused, "the run that is to be resumed is not the unfinished one");
    begin_.writers = writers_of(*unfinished);
    return {};
}

Status RunWriter::take_name() {
    begin_.writer = Uuid::random();
    begin_.points = before_.counting;
    begin_.state = plan_.state;
    begin_.number = before_.last_number + 1;
    if (!TRY(log_.append(begin_.number, begin_))) return fenced(log_.series());
    last_number_ = begin_.number;
    return {};
}

Status RunWriter::load_writer(const Uuid& writer) {
    for (const OpenSegment& each : TRY(segments_of(*vault_, log_.series(), writer))) {
        if (each.table.run != plan_.state.run || each.table.block_bytes != plan_.block_bytes)
            return object_damaged(each.id.object_name(), "it is of another run");
        const std::uint32_t place = place_of({writer, each.id.number, each.table.seed});
        for (const SegmentEntry& entry : each.table.entries) {
            entries_.push_back(index_entry(entry, place));
            stored_bytes_ += entry.stored_bytes;
            count_changed(entry.block, entries_.back().count);
        }
    }
    return spill();
}

void RunWriter::count_changed(std::uint64_t first, std::uint64_t count) {
    const std::uint64_t offset = first * plan_.block_bytes;
    changed_bytes_ += std::min(count * plan_.block_bytes, plan_.state.volume_bytes - offset);
}

// --- blocks -------------------------------------------------------------------------------------

std::uint32_t RunWriter::place_of(const SegmentRef& ref) {
    if (segments_.empty() || segments_.back() != ref) segments_.push_back(ref);
    return static_cast<std::uint32_t>(segments_.size() - 1);
}

Result<SegmentWriter*> RunWriter::segment() {
    if (segment_) return &*segment_;
    const ObjectId id{ObjectKind::kSegment, log_.series(), begin_.writer, segment_serial_,
                      format::kGenerationFirst};
    segment_ = TRY(SegmentWriter::begin(vault_->store(), vault_->id(), id,
                                        {.run = plan_.state.run,
                                         .source = plan_.state.owner,
                                         .seed = seed_,
                                         .volume_bytes = plan_.state.volume_bytes,
                                         .epoch = begin_.number,
                                         .block_bytes = plan_.block_bytes,
                                         .entries = {}}));
    return &*segment_;
}

Status RunWriter::append(const Block& block, ByteSpan stored) {
    SegmentWriter* segment = TRY(this->segment());
    const std::uint32_t origin = TRY(
        segment->append({.block = block.block, .kind = block.kind, .check = block.check}, stored));
    entries_.push_back({.block = block.block,
                        .count = 1,
                        .segment = place_of({begin_.writer, segment_serial_, seed_}),
                        .origin = origin,
                        .kind = block.kind,
                        .stored_bytes = static_cast<std::uint32_t>(stored.size()),
                        .check = block.check});
    count_changed(block.block, 1);
    stored_bytes_ += stored.size();
    return segment->full() ? flush() : Status{};
}

Status RunWriter::zeros(std::uint64_t first, std::uint64_t count) {
    SegmentWriter* segment = TRY(this->segment());
    segment->zeros(first, count);
    entries_.push_back({.block = first, .count = count, .kind = format::kKindZeros});
    count_changed(first, count);
    return {};
}

Status RunWriter::flush() {
    if (!segment_) return {};
    TRY_STATUS(segment_->commit());
    segment_.reset();
    ++segment_serial_;
    return entries_.size() >= kEntriesMax ? spill() : Status{};
}

// --- indexes ------------------------------------------------------------------------------------

ObjectId RunWriter::next_index() {
    return {ObjectKind::kIndex, log_.series(), begin_.writer, index_serial_++};
}

IndexGeometry RunWriter::geometry(std::uint64_t sequence) const {
    return {.block_bytes = plan_.block_bytes,
            .volume_bytes = plan_.state.volume_bytes,
            .sequence = sequence};
}

Result<WrittenIndex> RunWriter::write_entries(std::uint64_t sequence, bool drop_zeros) {
    std::ranges::stable_sort(entries_, {}, &IndexEntry::block);
    IndexWriter writer =
        TRY(IndexWriter::begin(vault_->store(), vault_->id(), next_index(), geometry(sequence)));
    for (IndexEntry& each : entries_) {
        if (each.zeros() && drop_zeros) continue;
        if (!each.zeros()) each.segment = writer.segment(segments_[each.segment]);
        TRY_STATUS(writer.add(each));
    }
    entries_.clear();
    segments_.clear();
    return writer.finish();
}

Status RunWriter::spill() {
    if (entries_.empty()) return {};
    const WrittenIndex piece = TRY(write_entries(0, false));
    pieces_.push_back(piece.id);
    return {};
}

RunWriter::Levels RunWriter::plan_levels(std::uint64_t own_entries) const {
    Levels levels;
    const Point* base = before_.newest();
    if (base == nullptr || plan_.state.run_mode == RunMode::kFull) {
        levels.level = format::kLevelWhole;
        return levels;
    }
    const auto& indexes = base->volumes.front().indexes;
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
Result<std::vector<Index>> RunWriter::open_pieces() const {
    std::vector<Index> opened;
    for (const ObjectId& piece : std::views::reverse(pieces_))
        opened.push_back(
            TRY(Index::open(vault_->shared_store(), vault_->id(), piece, std::nullopt)));
    return opened;
}

Result<std::shared_ptr<VolumeReader>> RunWriter::written() const {
    IndexLayer layer{.entries = entries_, .segments = segments_};
    std::ranges::sort(layer.entries, {}, &IndexEntry::block);
    std::vector<IndexLayer> layers;
    layers.push_back(std::move(layer));
    const PointVolume geometry{.name = plan_.volume_name,
                               .bytes = plan_.state.volume_bytes,
                               .block_bytes = plan_.block_bytes};
    return VolumeReader::over(vault_, log_.series(), geometry, std::move(layers),
                              TRY(open_pieces()));
}

Result<WrittenIndex> RunWriter::merge(const Levels& levels, std::uint64_t sequence) {
    TRY_STATUS(spill());
    std::vector<Index> opened = TRY(open_pieces());
    for (const PointIndex& each : levels.merged) {
        const ObjectId id{ObjectKind::kIndex, log_.series(), each.writer, each.serial};
        opened.push_back(TRY(Index::open(vault_->shared_store(), vault_->id(), id, each.sha256)));
    }
    std::vector<const Index*> newest_first;
    newest_first.reserve(opened.size());
    for (const Index& each : opened)
        newest_first.push_back(&each);
    return merge_indexes(vault_->store(), vault_->id(), next_index(), geometry(sequence),
                         newest_first, levels.level == format::kLevelWhole);
}

Result<std::vector<PointIndex>> RunWriter::write_indexes(std::uint64_t sequence) {
    const Point* base = before_.newest();
    const bool nothing = entries_.empty() && pieces_.empty();
    if (nothing && base != nullptr && plan_.state.run_mode != RunMode::kFull &&
        base->volumes.front().bytes == plan_.state.volume_bytes)
        return base->volumes.front().indexes;
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

Status RunWriter::drop_pieces() {
    std::vector<std::string> names;
    names.reserve(pieces_.size());
    for (const ObjectId& each : pieces_)
        names.push_back(each.object_name());
    pieces_.clear();
    return names.empty() ? Status{} : vault_->store().remove(names);
}

// --- seal ---------------------------------------------------------------------------------------

Result<Point> RunWriter::seal(const Sealing& sealing) {
    TRY_STATUS(flush());
    const Point* base = before_.newest();
    Point point{.id = sealing.state.base.point,
                .sequence = base == nullptr ? 1 : base->sequence + 1,
                .created_at = utc_now(),
                .clock = now_on_this_host(base == nullptr ? VaultClock{} : base->clock),
                .label = sealing.label,
                .mode = sealing.mode,
                .reread = sealing.reread,
                .digest = sealing.digest,
                .begin = begin_.number,
                .state = sealing.state};
    PointVolume volume{.name = plan_.volume_name,
                       .source = plan_.state.owner,
                       .bytes = plan_.state.volume_bytes,
                       .block_bytes = plan_.block_bytes,
                       .changed_bytes = changed_bytes_,
                       .stored_bytes = stored_bytes_};
    volume.indexes = TRY(write_indexes(point.sequence));
    point.volumes.push_back(std::move(volume));
    point.number = TRY(append_point(point));
    // The point is sealed: what cannot be tidied up now is garbage for the next collection.
    static_cast<void>(drop_pieces());
    drop_outdated();
    return point;
}

// The number may be taken by a collector's delete: then the next one. Whether a point counts is
// known for certain only when nobody has put anything behind it, or the log is read again.
Result<std::uint64_t> RunWriter::append_point(Point& point) {
    for (int tries = 0; tries < kAppendTries; ++tries) {
        point.number = last_number_ + 1;
        const bool put = TRY(log_.append(point.number, point));
        if (put && TRY(log_.last_number()) == point.number) return point.number;
        const SeriesState now = TRY(log_.read_newest());
        const bool ours = now.last_begin && now.last_begin->number == begin_.number;
        if (put && std::ranges::binary_search(now.counting, point.number)) return point.number;
        if (put || !ours) return fenced(log_.series());
        last_number_ = now.last_number;
    }
    return fail(Code::kBusy, "the log of " + decode_series(log_.series()) +
                                 " in the vault does not stand still; try again");
}

void RunWriter::drop_outdated() {
    std::vector<std::string> names;
    names.reserve(before_.outdated.size() + 1);
    for (const std::uint64_t number : before_.outdated)
        names.push_back(log_.entry_id(number).object_name());
    if (before_.last_begin)
        names.push_back(log_.entry_id(before_.last_begin->number).object_name());
    if (before_.last_delete)
        names.push_back(log_.entry_id(before_.last_delete->number).object_name());
    if (!names.empty()) static_cast<void>(vault_->store().remove(names));
}

}  // namespace towline
