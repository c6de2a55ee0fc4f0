// SPDX-License-Identifier: Apache-2.0
// The order that must hold: objects are listed before the log is read, so that whoever put what is
// listed has its begin in the log that is read; the delete is durable before entries go, entries
// before indexes and segments, a new generation before the old one. Killed anywhere, the next
// collection finds what is left.

#include "userspace/vault/collector.hpp"

#include <algorithm>

#include "io/checksum.hpp"
#include "userspace/vault/segment_writer.hpp"

namespace towline {

namespace format = vault_format;
using format::ObjectKind;

namespace {

constexpr int kAppendTries = 16;

// What a segment of these blocks would take.
std::uint64_t segment_bytes(const std::vector<LiveBlock>& live) {
    std::uint64_t bytes =
        format::kHeadBytes + format::kSegmentTableHeadBytes + format::kTrailerBytes;
    for (const LiveBlock& each : live)
        bytes += each.stored_bytes + format::kSegmentEntryBytes;
    return bytes;
}

}  // namespace

void CollectReport::add(const CollectReport& other) {
    bytes_before += other.bytes_before;
    bytes_after += other.bytes_after;
    indexes_removed += other.indexes_removed;
    segments_removed += other.segments_removed;
    segments_rewritten += other.segments_rewritten;
    left.insert(left.end(), other.left.begin(), other.left.end());
}

// --- deleting -----------------------------------------------------------------------------------

Result<DeleteReport> Collector::delete_points(const std::vector<std::uint64_t>& numbers) {
    DeleteReport report;
    // Beside a writer the newest point is its base, and stays.
    auto held = log_.hold();
    if (!held && held.error().code != Code::kBusy) return std::unexpected(held.error());
    std::vector<std::unique_ptr<ObjectHold>> pins;
    for (const std::uint64_t number : numbers) {
        auto pin = log_.pin(number, HoldKind::kExclusive);
        if (!pin && pin.error().code != Code::kBusy) return std::unexpected(pin.error());
        (pin ? report.deleted : report.pinned).push_back(number);
        if (pin) pins.push_back(std::move(*pin));
    }
    if (report.deleted.empty()) return report;
    for (int tries = 0; tries < kAppendTries; ++tries) {
        const SeriesState state = TRY(log_.read());
        TRY_STATUS(state.refuse_damaged());
        if (!held && state.newest() != nullptr &&
            std::ranges::find(report.deleted, state.newest()->number) != report.deleted.end()) {
            return fail(Code::kBusy, "the newest point of " + decode_series(log_.series()) +
                                         " is what a run is going on upon; try again later");
        }
        Delete entry;
        for (const std::uint64_t each : state.counting) {
            if (std::ranges::find(report.deleted, each) == report.deleted.end())
                entry.points.push_back(each);
        }
        if (state.last_begin && state.unfinished() == nullptr)
            entry.ended = state.last_begin->number;
        if (TRY(log_.append(state.last_number + 1, entry))) return report;
    }
    return fail(Code::kBusy, "the log of " + decode_series(log_.series()) +
                                 " in the vault does not stand still; try again");
}

// --- collecting ---------------------------------------------------------------------------------

ObjectId Collector::segment_id(const SegmentKey& key, std::uint32_t generation) const {
    return {ObjectKind::kSegment, log_.series(), key.writer, key.serial, generation};
}

Result<Collector::Objects> Collector::list() const {
    Objects objects;
    const std::string& series = log_.series();
    for (const ObjectInfo& each :
         TRY(vault_->store().list(object_folder(ObjectKind::kIndex, series)))) {
        objects.bytes += each.bytes;
        const auto id = parse_object_name(ObjectKind::kIndex, series, each.name);
        if (id) objects.indexes.emplace_back(*id, each.bytes);
    }
    for (const ObjectInfo& each :
         TRY(vault_->store().list(object_folder(ObjectKind::kSegment, series)))) {
        objects.bytes += each.bytes;
        const auto id = parse_object_name(ObjectKind::kSegment, series, each.name);
        if (id) objects.segments[{id->writer, id->number}][id->generation] = each.bytes;
    }
    return objects;
}

// The name's lock is held for the look alone: a run that begins behind it puts new objects, and
// stands upon a point that is here.
Result<Collector::Seen> Collector::look() const {
    const auto held = log_.hold();
    if (!held && held.error().code != Code::kBusy) return std::unexpected(held.error());
    Seen seen{.objects = TRY(list()), .state = TRY(log_.read()), .spared = {}, .running = !held};
    TRY_STATUS(seen.state.refuse_damaged());
    if (seen.state.points.size() != seen.state.counting.size()) {
        return fail(Code::kCorrupt, "entries of the log of " + decode_series(log_.series()) +
                                        " in the vault are lost; see: towline vault check");
    }
    // An unfinished run can be resumed from its segments; a running one needs all that it put.
    const Begin* spare = seen.state.unfinished();
    if (seen.running && seen.state.last_begin) spare = &*seen.state.last_begin;
    if (spare != nullptr) {
        seen.spared.insert(spare->writer);
        seen.spared.insert(spare->writers.begin(), spare->writers.end());
    }
    return seen;
}

Result<CollectReport> Collector::collect() {
    const auto alone = vault_->store().hold("collect/" + log_.series(), HoldKind::kExclusive);
    if (!alone && alone.error().code == Code::kBusy) {
        return fail(Code::kBusy, "space of " + decode_series(log_.series()) +
                                     " is being given back by another process already");
    }
    if (!alone) return std::unexpected(alone.error());
    const Seen seen = TRY(look());
    CollectReport report{.bytes_before = seen.objects.bytes, .bytes_after = seen.objects.bytes};
    TRY_STATUS(collect_log(seen.state));
    const auto live =
        TRY(Liveness::of(*vault_, log_.series(), seen.state.points, options_.progress));
    TRY_STATUS(collect_indexes(seen, report));
    TRY_STATUS(collect_segments(seen, live, report));
    report.bytes_after -= std::min(report.bytes_after, TRY(vault_->store().sweep()));
    return report;
}

Status Collector::collect_log(const SeriesState& state) const {
    std::vector<std::string> names;
    for (const std::uint64_t number : state.outdated) {
        // No number is used twice: the last one stays.
        if (number != state.last_number) names.push_back(log_.entry_id(number).object_name());
    }
    return vault_->store().remove(names);
}

Status Collector::collect_indexes(const Seen& seen, CollectReport& report) const {
    std::set<std::pair<Uuid, std::uint64_t>> used;
    for (const Point& point : seen.state.points)
        for (const PointVolume& volume : point.volumes)
            for (const PointIndex& each : volume.indexes)
                used.emplace(each.writer, each.serial);
    std::vector<std::string> names;
    for (const auto& [id, bytes] : seen.objects.indexes) {
        const bool spared = seen.running && seen.spared.contains(id.writer);
        if (used.contains({id.writer, id.number}) || spared) continue;
        names.push_back(id.object_name());
        report.bytes_after -= bytes;
        ++report.indexes_removed;
    }
    return vault_->store().remove(names);
}

Status Collector::collect_segments(const Seen& seen, const Liveness::Segments& live,
                                   CollectReport& report) const {
    std::vector<std::string> names;
    for (const auto& [key, generations] : seen.objects.segments) {
        const bool used = live.contains(key) || seen.spared.contains(key.writer);
        for (const auto& [generation, bytes] : generations) {
            if (used && generation == generations.rbegin()->first) continue;
            names.push_back(segment_id(key, generation).object_name());
            report.bytes_after -= bytes;
            ++report.segments_removed;
        }
    }
    // What is of no use goes first: a full disk then has room for what is rewritten.
    TRY_STATUS(vault_->store().remove(names));
    std::uint64_t done = 0;
    for (const auto& [key, generations] : seen.objects.segments) {
        options_.progress(++done, seen.objects.segments.size());
        const auto blocks = live.find(key);
        if (blocks == live.end() || seen.spared.contains(key.writer)) continue;
        TRY_STATUS(compact(key, generations.rbegin()->first, generations.rbegin()->second,
                           blocks->second, report));
    }
    return {};
}

Status Collector::compact(const SegmentKey& key, std::uint32_t generation, std::uint64_t bytes,
                          const std::vector<LiveBlock>& live, CollectReport& report) const {
    const auto dead = static_cast<double>(bytes) - static_cast<double>(segment_bytes(live));
    if (dead <= options_.dead_share_max * static_cast<double>(bytes)) return {};
    const auto rewritten = rewrite(key, generation, live);
    if (!rewritten && rewritten.error().code == Code::kCorrupt) {
        // What is damaged stays as it is: other blocks of it may be good.
        report.left.push_back(rewritten.error());
        return {};
    }
    if (!rewritten) return std::unexpected(rewritten.error());
    const std::vector<std::string> old{segment_id(key, generation).object_name()};
    TRY_STATUS(vault_->store().remove(old));
    report.bytes_after -= bytes - std::min(bytes, *rewritten);
    ++report.segments_rewritten;
    return {};
}

// As they are stored: nothing is decompressed, and no key would be needed.
Result<std::uint64_t> Collector::rewrite(const SegmentKey& key, std::uint32_t generation,
                                         const std::vector<LiveBlock>& live) const {
    ObjectStore& store = vault_->store();
    const OpenSegment old = TRY(open_segment(store, vault_->id(), segment_id(key, generation)));
    SegmentTable table = old.table;
    table.entries.clear();
    SegmentWriter writer =
        TRY(SegmentWriter::begin(store, vault_->id(), segment_id(key, generation + 1), table));
    const std::string name = old.id.object_name();
    std::vector<std::byte> stored;
    auto wanted = live.begin();
    for (std::size_t i = 0; i < old.table.entries.size(); ++i) {
        const SegmentEntry& entry = old.table.entries[i];
        if (entry.zeros() || wanted == live.end() || entry.origin != wanted->origin) continue;
        ++wanted;
        stored.resize(entry.stored_bytes);
        TRY_STATUS(read_exactly(store, name, old.offsets[i], stored));
        if (crc32c(stored) != entry.stored_crc)
            return object_damaged(
                name, "the stored block at " + std::to_string(old.offsets[i]) + " fails its check");
        TRY_STATUS(writer.append(entry, stored));
    }
    if (wanted != live.end()) return object_damaged(name, "a block that is in use is not in it");
    return writer.commit();
}

}  // namespace towline
