// SPDX-License-Identifier: Apache-2.0
// Blocks go to the volume that they are of; the point, with all volumes, is put last. Everything
// before it is invisible, and it is one put: so the volumes of a run become a point together.

#include "userspace/vault/run_writer.hpp"

#include <algorithm>
#include <ranges>

#include "io/checksum.hpp"
#include "transport/codec.hpp"
#include "userspace/engine/moment.hpp"

namespace towline {

using vault_format::ObjectKind;

namespace {

constexpr int kAppendTries = 16;

std::unexpected<Error> fenced(const std::string& series) {
    return fail(Code::kBusy, decode_series(series) +
                                 " in the vault was taken by another run meanwhile; nothing of "
                                 "this one counts");
}

std::unexpected<Error> groundless(const std::string& series) {
    return fail(Code::kBusy, "the newest point of " + decode_series(series) +
                                 " in the vault was deleted while this run went on upon it and had "
                                 "lost its hold of the name; nothing of the run counts: run it "
                                 "again");
}

// In the order in which they were put.
Result<std::vector<OpenSegment>> segments_of(const Vault& vault, const std::string& series,
                                             const Uuid& writer) {
    std::vector<ObjectId> ids;
    const std::string folder = vault.segment_series(series);
    for (const ObjectInfo& each :
         TRY(vault.store().list(object_folder(ObjectKind::kSegment, folder)))) {
        const auto id = parse_object_name(ObjectKind::kSegment, folder, each.name);
        if (id && id->writer == writer) ids.push_back(*id);
    }
    std::ranges::sort(ids, {}, &ObjectId::number);
    std::vector<OpenSegment> segments;
    segments.reserve(ids.size());
    for (const ObjectId& id : ids)
        segments.push_back(TRY(open_segment(vault.store(), vault.id(), id)));
    return segments;
}

bool is_of(const OpenSegment& segment, const VolumePart& volume) {
    return segment.table.source == volume.source && segment.table.volume_bytes == volume.bytes;
}

// Null: of a volume that the layout does not have.
const VolumePart* part_of(const VolumeLayout& layout, const OpenSegment& segment) {
    for (const VolumePart& each : layout.parts())
        if (is_of(segment, each)) return &each;
    return nullptr;
}

std::vector<Uuid> writers_of(const Begin& begin) {
    std::vector<Uuid> writers = begin.writers;
    writers.push_back(begin.writer);
    return writers;
}

}  // namespace

Result<std::vector<Extent>> acknowledged_extents(const Vault& vault, const std::string& series,
                                                 const Begin& unfinished,
                                                 const VolumeLayout& layout) {
    std::vector<Extent> extents;
    for (const Uuid& writer : writers_of(unfinished)) {
        for (const OpenSegment& each : TRY(segments_of(vault, series, writer))) {
            const VolumePart* part = part_of(layout, each);
            if (part == nullptr) continue;
            const std::uint64_t block = each.table.block_bytes;
            for (const SegmentEntry& entry : each.table.entries) {
                const std::uint64_t offset = entry.block * block;
                const std::uint64_t length = (entry.zeros() ? entry.zero_count : 1) * block;
                extents.push_back({part->start_bytes + offset,
                                   std::min(length, each.table.volume_bytes - offset)});
            }
        }
    }
    return normalized(std::move(extents));
}

Result<std::vector<IndexLayer>> layers_of(const Vault& vault, const std::string& series,
                                          const Begin& unfinished, const VolumePart& volume) {
    std::vector<IndexLayer> layers;
    const std::vector<Uuid> writers = writers_of(unfinished);
    for (const Uuid& writer : std::views::reverse(writers)) {
        IndexLayer layer;
        for (const OpenSegment& each : TRY(segments_of(vault, series, writer))) {
            if (!is_of(each, volume)) continue;
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

const PointVolume* base_of(const Point& point, const VolumeLayout& layout, std::size_t place) {
    const VolumePart& part = layout.parts()[place];
    const auto same = std::ranges::find(point.volumes, part.source, &PointVolume::source);
    if (same != point.volumes.end()) return &*same;
    // In place of another source's replica: what is equal need not come again.
    const auto namesake = std::ranges::find(point.volumes, part.name, &PointVolume::name);
    if (namesake != point.volumes.end()) return &*namesake;
    if (!layout.several() && point.volumes.size() == 1) return &point.volumes.front();
    return nullptr;
}

// --- begin --------------------------------------------------------------------------------------

RunWriter::Footing RunWriter::Footing::of(const SeriesState& state) {
    return {.begin = state.last_begin ? state.last_begin->number : 0,
            .point = state.newest() == nullptr ? 0 : state.newest()->number};
}

// By the run, not its begin alone: who asks may not know yet that it has begun.
std::optional<Error> RunWriter::fallen(const SeriesLog& log, const Footing& footing,
                                       const Uuid& run) {
    const auto now = log.read_newest();
    if (!now || !now->damaged.empty()) return std::nullopt;
    const std::uint64_t begin = now->last_begin ? now->last_begin->number : 0;
    if (begin != footing.begin && (begin == 0 || now->last_begin->state.run != run))
        return fenced(log.series()).error();
    if (footing.point != 0 && !std::ranges::binary_search(now->counting, footing.point))
        return groundless(log.series()).error();
    return std::nullopt;
}

RunWriter::RunWriter(std::shared_ptr<Vault> vault, const std::string& series,
                     std::shared_ptr<ObjectHold> held, Plan plan)
    : vault_(std::move(vault)),
      log_(vault_, series),
      held_(std::move(held)),
      plan_(std::move(plan)) {
    if (plan_.layout.parts().empty())
        plan_.layout = VolumeLayout::of_one(plan_.state.owner, plan_.state.volume_bytes);
}

Result<std::unique_ptr<RunWriter>> RunWriter::begin(std::shared_ptr<Vault> vault,
                                                    const std::string& series,
                                                    std::shared_ptr<ObjectHold> held,
                                                    const Plan& plan) {
    std::unique_ptr<RunWriter> writer(
        new RunWriter(std::move(vault), series, std::move(held), plan));
    writer->before_ = TRY(writer->log_.read_newest());
    TRY_STATUS(writer->before_.refuse_damaged());
    // A host that slept between its look and now may have lost the lock meanwhile.
    if (plan.footing && *plan.footing != Footing::of(writer->before_)) return fenced(series);
    TRY_STATUS(writer->make_volumes());
    if (writer->vault_->config().dedup)
        writer->shared_.twins = std::make_unique<TwinFinder>(writer->vault_);
    if (plan.resume) TRY_STATUS(writer->join_earlier());
    TRY_STATUS(writer->take_name());
    // What earlier sessions of this run brought is written away first: what comes now is newer.
    for (const Uuid& each : writer->begin_.writers)
        TRY_STATUS(writer->load_writer(each));
    return writer;
}

Status RunWriter::make_volumes() {
    shared_ = {.vault = vault_,
               .series = log_.series(),
               .run = plan_.state.run,
               .whole = plan_.state.run_mode == RunMode::kFull,
               .block_bytes = plan_.block_bytes};
    const Point* before = before_.newest();
    for (std::size_t place = 0; place < plan_.layout.parts().size(); ++place) {
        VolumePart part = plan_.layout.parts()[place];
        if (part.bytes / plan_.block_bytes >= vault_format::kBlockCountMax) {
            return fail(Code::kRefused,
                        "a volume has at most 2^40 blocks in a vault; take larger ones (--block)");
        }
        if (part.name.empty()) part.name = plan_.volume_name;
        const PointVolume* base =
            before == nullptr ? nullptr : base_of(*before, plan_.layout, place);
        if (base != nullptr && !shared_.whole && base->block_bytes != plan_.block_bytes) {
            return fail(Code::kRefused,
                        "the points of " + decode_series(log_.series()) + " have blocks of " +
                            std::to_string(base->block_bytes) +
                            " bytes; take the same (--block), or run once with --full");
        }
        volumes_.push_back(std::make_unique<RunVolume>(shared_, std::move(part), base));
    }
    return {};
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
    begin_.state = plan_.state;
    SeriesState now = before_;
    for (int tries = 0;; ++tries) {
        begin_.points = now.counting;
        begin_.number = now.last_number + 1;
        if (TRY(log_.append(begin_.number, begin_))) break;
        // A pruning deletes older points beside us; another run that began is another matter.
        now = TRY(log_.read_newest());
        if (tries == kAppendTries || Footing::of(now) != Footing::of(before_))
            return fenced(log_.series());
    }
    last_number_ = begin_.number;
    shared_.writer = begin_.writer;
    shared_.epoch = begin_.number;
    return {};
}

Status RunWriter::load_writer(const Uuid& writer) {
    for (const OpenSegment& each : TRY(segments_of(*vault_, log_.series(), writer))) {
        if (each.table.run != plan_.state.run || each.table.block_bytes != plan_.block_bytes)
            return object_damaged(each.id.object_name(), "it is of another run");
        const auto volume = std::ranges::find_if(
            volumes_, [&](const auto& its) { return is_of(each, its->part()); });
        if (volume == volumes_.end())
            return fail(Code::kRefused, "the run that is to be resumed had other volumes");
        TRY_STATUS((*volume)->load(each));
    }
    for (const auto& each : volumes_)
        TRY_STATUS(each->spill());
    return {};
}

// --- blocks -------------------------------------------------------------------------------------

Result<RunWriter::Place> RunWriter::place_of(std::uint64_t block) const {
    const std::uint64_t offset = block * plan_.block_bytes;
    const VolumePart* part = plan_.layout.part_at(offset);
    if (part == nullptr || offset >= part->end_bytes())
        return fail(Code::kProtocol, "the source sent a block that is of no volume");
    return Place{
        .volume = volumes_[static_cast<std::size_t>(part - plan_.layout.parts().data())].get(),
        .block = block - part->start_bytes / plan_.block_bytes};
}

Status RunWriter::append(const Block& block, ByteSpan stored) {
    const Place place = TRY(place_of(block.block));
    const std::uint64_t end = (block.block + 1) * plan_.block_bytes;
    const bool whole = end <= place.volume->part().end_bytes() || end >= plan_.layout.size_bytes();
    if (!whole) return append_cut(place, block);
    return place.volume->append({place.block, block.kind, block.check, block.plain}, stored);
}

// The last block of a volume behind which another one lies came with zeros up to its end, and is
// kept without them, as the last one of any volume. The check that it came with is that of the
// shorter block, gone on with over the zeros: so the new one says of its bytes what the old one
// did.
Status RunWriter::append_cut(const Place& place, const Block& block) {
    const VolumePart& part = place.volume->part();
    const std::uint64_t offset = place.block * plan_.block_bytes;
    const ByteSpan kept = block.plain.first(part.bytes - offset);
    const ByteSpan behind = block.plain.subspan(kept.size());
    const std::uint32_t check = BlockCheck(part.source).of(kept, offset);
    if (!is_zero(behind) || crc32c(behind, check) != block.check) {
        return fail(Code::kCorrupt, "the block at the end of the volume " + part.name +
                                        " has something behind that end");
    }
    return place.volume->append(
        {place.block, static_cast<std::uint8_t>(BlockKind::kRaw), check, kept}, kept);
}

Status RunWriter::zeros(std::uint64_t first, std::uint64_t count) {
    const std::uint64_t block_bytes = plan_.block_bytes;
    for (const auto& each : volumes_) {
        const VolumePart& part = each->part();
        const std::uint64_t begin = part.start_bytes / block_bytes;
        const std::uint64_t end = begin + (part.bytes - 1) / block_bytes + 1;
        const std::uint64_t from = std::max(first, begin);
        const std::uint64_t to = std::min(first + count, end);
        if (from < to) TRY_STATUS(each->zeros(from - begin, to - from));
    }
    return {};
}

Status RunWriter::flush() {
    for (const auto& each : volumes_)
        TRY_STATUS(each->flush());
    return {};
}

Result<std::shared_ptr<PartsReader>> RunWriter::written() const {
    std::vector<std::shared_ptr<VolumeReader>> readers;
    readers.reserve(volumes_.size());
    for (const auto& each : volumes_)
        readers.push_back(TRY(each->written()));
    return std::make_shared<PartsReader>(plan_.layout, plan_.block_bytes, std::move(readers));
}

// --- seal ---------------------------------------------------------------------------------------

namespace {

// What lies on a volume as it is about to be sealed. A few blocks are read; one that cannot be, of
// an earlier run maybe, is no reason not to seal this one.
std::optional<VolumeFacts> facts_of(const std::shared_ptr<Vault>& vault, const std::string& series,
                                    const PointVolume& volume) {
    const auto reader = VolumeReader::open(vault, series, volume);
    if (!reader) return std::nullopt;
    auto facts = look_at_volume(volume.bytes, [&](std::uint64_t offset, MutableByteSpan into) {
        return (*reader)->read(offset, into);
    });
    if (!facts) return std::nullopt;
    return std::move(*facts);
}

}  // namespace

Result<Point> RunWriter::seal(const Sealing& sealing) {
    auto point = make_point(sealing);
    const bool missed =
        !point && (point.error().code == Code::kCorrupt || point.error().system_errno == ENOENT);
    if (!missed) return point;
    // Indexes of the point before are merged with the run's own.
    Footing footing = Footing::of(before_);
    footing.begin = begin_.number;
    if (auto cause = fallen(log_, footing, plan_.state.run)) return std::unexpected(*cause);
    return point;
}

Result<Point> RunWriter::make_point(const Sealing& sealing) {
    TRY_STATUS(flush());
    const Point* base = before_.newest();
    Point point{.id = sealing.state.base.point,
                .sequence = base == nullptr ? 1 : base->sequence + 1,
                .created_at = utc_now(),
                .clock = now_on_this_host(base == nullptr ? VaultClock{} : base->clock),
                .mode = sealing.mode,
                .reread = sealing.reread,
                .digest = sealing.digest,
                .begin = begin_.number,
                .state = sealing.state};
    if (sealing.moment) {
        point.label = label_name(sealing.moment->label);
        point.group = sealing.moment->group;
        point.frozen_us = sealing.moment->frozen_us;
    }
    for (const auto& each : volumes_)
        point.volumes.push_back(TRY(each->finish(point.sequence)));
    for (PointVolume& each : point.volumes)
        each.facts = facts_of(vault_, log_.series(), each);
    if (shared_.twins) TRY_STATUS(shared_.twins->hold_again());
    point.number = TRY(append_point(point));
    shared_.twins.reset();  // what it found is in use now, for all to see
    // The point is sealed: what cannot be tidied up now is garbage for the next collection.
    drop_pieces();
    drop_outdated();
    return point;
}

// The number may be taken by a collector's delete, or lie before one: then the next one. Whether a
// point counts is known for certain only when nobody has put anything behind it, or the log is read
// again.
Result<std::uint64_t> RunWriter::append_point(Point& point) {
    for (int tries = 0; tries < kAppendTries; ++tries) {
        point.number = last_number_ + 1;
        const bool put = TRY(log_.append(point.number, point));
        if (put && TRY(log_.last_number()) == point.number) return point.number;
        const SeriesState now = TRY(log_.read_newest());
        TRY_STATUS(now.refuse_damaged());
        const bool ours = now.last_begin && now.last_begin->number == begin_.number;
        if (put && std::ranges::binary_search(now.counting, point.number)) return point.number;
        // Whoever had our lock meanwhile may have deleted what the point stands on.
        const Point* base = before_.newest();
        const bool stands =
            base == nullptr || std::ranges::binary_search(now.counting, base->number);
        if (!ours) return fenced(log_.series());
        if (!stands) return groundless(log_.series());
        // One that was put and does not count lies where an older entry had been removed.
        last_number_ = now.last_number;
    }
    return fail(Code::kBusy, "the log of " + decode_series(log_.series()) +
                                 " in the vault does not stand still; try again");
}

void RunWriter::drop_pieces() {
    std::vector<std::string> names;
    for (const auto& each : volumes_)
        each->list_pieces(names);
    if (!names.empty()) static_cast<void>(vault_->store().remove(names));
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
