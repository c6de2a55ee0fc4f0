// SPDX-License-Identifier: Apache-2.0
// The order that must hold: objects are listed before the log is read, so that whoever put what is
// listed has its begin in the log that is read; the delete is durable before entries go, entries
// before indexes and segments, a new generation before the old one. Killed anywhere, the next
// collection finds what is left.

#include "userspace/vault/collector.hpp"

#include <algorithm>

#include "userspace/vault/segment_pins.hpp"
#include "userspace/vault/segment_writer.hpp"

namespace towline {

namespace format = vault_format;
using format::ObjectKind;

namespace {

constexpr int kAppendTries = 16;
constexpr int kNameTries = 4;

std::unexpected<Error> lost_name() {
    return fail(Code::kCorrupt,
                "a name in the vault has lost its log, and may show blocks that others share: no "
                "space is given back; bring back the folder in log/, or remove that in index/");
}

// A name whose log was moved away, or cannot be read by its name any more, shows nothing: what only
// it shows would go. In a vault where each name has its own segments those would stay.
// Names may be made meanwhile; who makes one begins in its log before anything else of it is there.
Status refuse_lost_names(const Vault& vault) {
    const auto indexed = TRY(vault.store().list_folders("index/"));
    for (int tries = 0; tries < kNameTries; ++tries) {
        const auto names = TRY(vault.series());
        const auto stored = TRY(vault.stored().list_folders("log/"));
        const bool all_known = stored.size() == names.size() &&
                               std::ranges::all_of(indexed, [&](const std::string& each) {
                                   return std::ranges::find(names, each) != names.end();
                               });
        if (all_known) return {};
    }
    return lost_name();
}

// What a segment of these blocks would take.
std::uint64_t segment_bytes(const std::vector<LiveBlock>& live, bool identities) {
    std::uint64_t bytes =
        format::kHeadBytes + format::kSegmentTableHeadBytes + format::kTrailerBytes;
    for (const LiveBlock& each : live)
        bytes += each.stored_bytes + format::kSegmentEntryBytes + format::kOriginBytes +
                 (identities ? format::kIdentityBytes : 0);
    const std::size_t groups = (live.size() + format::kGroupBlocks - 1) / format::kGroupBlocks;
    return bytes + (identities ? 0 : groups * format::kProofBytes);
}

void add_writers(const Begin& begin, std::set<Uuid>& to) {
    to.insert(begin.writer);
    to.insert(begin.writers.begin(), begin.writers.end());
}

}  // namespace

void CollectReport::add(const CollectReport& other) {
    bytes_before += other.bytes_before;
    bytes_after += other.bytes_after;
    indexes_removed += other.indexes_removed;
    segments_removed += other.segments_removed;
    segments_rewritten += other.segments_rewritten;
    segments_pinned += other.segments_pinned;
    left.insert(left.end(), other.left.begin(), other.left.end());
}

std::string pinned_text(const CollectReport& report) {
    return "of " + std::to_string(report.segments_pinned) +
           " segments the space is not yet given back, as runs that are going on may have found "
           "blocks in them; prune again when those have ended";
}

// --- deleting -----------------------------------------------------------------------------------

Result<DeleteReport> Collector::delete_points(const std::vector<std::uint64_t>& numbers) {
    DeleteReport report;
    if (numbers.empty()) return report;
    // Beside a writer the newest point is its base, and stays. Others go without keeping a run from
    // beginning.
    Result<std::unique_ptr<ObjectHold>> held = fail(Code::kBusy, "not asked for");
    const SeriesState now = TRY(log_.read_newest());
    if (now.newest() != nullptr &&
        std::ranges::find(numbers, now.newest()->number) != numbers.end())
        held = log_.hold();
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
    return {ObjectKind::kSegment, vault_->segment_series(log_.series()), key.writer, key.serial,
            generation};
}

Result<Collector::Indexes> Collector::list_indexes() const {
    Indexes indexes;
    const std::string& series = log_.series();
    for (const ObjectInfo& each :
         TRY(vault_->store().list(object_folder(ObjectKind::kIndex, series)))) {
        const auto id = parse_object_name(ObjectKind::kIndex, series, each.name);
        if (id) indexes.emplace_back(*id, each.bytes);
    }
    return indexes;
}

Result<Collector::SegmentBytes> Collector::list_segments() const {
    SegmentBytes segments;
    const std::string series = vault_->segment_series(log_.series());
    for (const ObjectInfo& each :
         TRY(vault_->store().list(object_folder(ObjectKind::kSegment, series)))) {
        const auto id = parse_object_name(ObjectKind::kSegment, series, each.name);
        if (id) segments[{id->writer, id->number}][id->generation] = each.bytes;
    }
    return segments;
}

Result<SeriesState> Collector::read_log() const {
    SeriesState state = TRY(log_.read());
    TRY_STATUS(state.refuse_damaged());
    if (state.points.size() != state.counting.size()) {
        return fail(Code::kCorrupt, "entries of the log of " + decode_series(log_.series()) +
                                        " in the vault are lost; see: towline vault check");
    }
    return state;
}

// An unfinished run can be resumed from its segments, and a running one needs all that it put. Who
// puts anything has begun in the log before, so a log that is read behind the list knows of him.
// Its lock is only asked for, never kept: a run may begin at any time.
Result<Collector::Seen> Collector::look() const {
    const SeriesState before = TRY(log_.read_newest());
    const Begin* left = before.unfinished();
    bool idle = false;
    if (left != nullptr) {
        const auto held = log_.hold();
        if (!held && held.error().code != Code::kBusy) return std::unexpected(held.error());
        idle = held.has_value();
    }
    Seen seen;
    seen.indexes = TRY(list_indexes());
    if (!pooled()) seen.segments = TRY(list_segments());
    seen.state = TRY(read_log());
    if (const Begin* unfinished = seen.state.unfinished()) {
        add_writers(*unfinished, seen.spared);
        // Nobody was writing, and nobody has begun since: who resumes it makes indexes of his own.
        seen.abandoned = idle && unfinished->number == left->number;
    }
    return seen;
}

Result<CollectReport> Collector::collect() {
    // Of a vault that keeps equal blocks once it is one lock for all names: who looks at what all
    // of them show would otherwise meet indexes that another one is just removing.
    const auto alone = vault_->store().hold("collect/" + vault_->segment_series(log_.series()),
                                            HoldKind::kExclusive);
    if (!alone && alone.error().code == Code::kBusy) {
        return fail(Code::kBusy, "space of " + decode_series(log_.series()) +
                                     " is being given back by another process already");
    }
    if (!alone) return std::unexpected(alone.error());
    const Seen seen = TRY(look());
    CollectReport report;
    for (const auto& each : seen.indexes)
        report.bytes_before += each.second;
    report.bytes_after = report.bytes_before;
    TRY_STATUS(collect_log(seen.state));
    if (pooled()) {
        TRY_STATUS(collect_indexes(seen, report));
        if (options_.segments) TRY_STATUS(collect_pool(report));
    } else {
        TRY_STATUS(collect_own(seen, report));
    }
    report.bytes_after -= std::min(report.bytes_after, TRY(vault_->store().sweep()));
    return report;
}

Status Collector::collect_own(const Seen& seen, CollectReport& report) const {
    const auto live =
        TRY(Liveness::of(*vault_, log_.series(), seen.state.points, options_.progress));
    TRY_STATUS(collect_indexes(seen, report));
    count_segments(seen.segments, report);
    return collect_segments(seen.segments, seen.spared, live, report);
}

// In passes, each of as many shards of the segments as there is room for in memory.
Status Collector::collect_pool(CollectReport& report) const {
    const SegmentBytes segments = TRY(list_segments());  // before any log is read, as ever
    count_segments(segments, report);
    for (std::size_t shard = 0; shard < SegmentPins::kShards;)
        shard = TRY(collect_shards(shard, segments, report));
    return {};
}

// What is of no use is what no point of any name shows. A run that is going on may have found
// blocks in any segment, and only its point will say so. So the order here is: what seems of no
// use; the locks of all that is of it, which leave out what a run has pinned; then, with nobody
// finding anything there any more, the points that came meanwhile; and only then is anything
// removed. A run that found something before the locks were taken either holds its pin, or its
// point is among those. Says which shard comes next.
Result<std::size_t> Collector::collect_shards(std::size_t first, SegmentBytes segments,
                                              CollectReport& report) const {
    PoolSeen seen(first, options_.live_blocks_max);
    TRY_STATUS(look_at_pool(seen));
    std::map<std::size_t, std::unique_ptr<ObjectHold>> shards;
    for (const auto& [key, generations] : segments) {
        const std::size_t shard = SegmentPins::shard_of(key);
        if (shards.contains(shard) || !seen.live.covers(key) || !wasteful(key, generations, seen))
            continue;
        auto held = SegmentPins::hold(*vault_, shard, HoldKind::kExclusive);
        if (!held && held.error().code != Code::kBusy) return std::unexpected(held.error());
        shards.emplace(shard, held ? std::move(*held) : nullptr);
    }
    TRY_STATUS(look_at_pool(seen));
    const std::size_t next = seen.live.end();
    std::erase_if(segments, [&](const auto& each) {
        if (!seen.live.covers(each.first)) return true;
        const auto shard = shards.find(SegmentPins::shard_of(each.first));
        if (shard != shards.end() && shard->second != nullptr) return false;
        if (wasteful(each.first, each.second, seen)) ++report.segments_pinned;
        return true;
    });
    TRY_STATUS(collect_segments(segments, seen.spared, seen.live.take(), report));
    return next;
}

// What was seen before stays seen: points that came since are added. A run that is going on is an
// unfinished one in its log, so no name has to be locked to know what it put.
Status Collector::look_at_pool(PoolSeen& seen) const {
    TRY_STATUS(refuse_lost_names(*vault_));
    for (const std::string& series : TRY(vault_->series())) {
        const Collector its(vault_, series);
        const SeriesState state = TRY(its.read_log());
        // Of a log that was ever begun the last entry stays.
        if (state.last_number == 0 && !TRY(its.list_indexes()).empty()) return lost_name();
        if (const Begin* unfinished = state.unfinished()) add_writers(*unfinished, seen.spared);
        std::vector<Point> fresh;
        for (const Point& each : state.points)
            if (seen.points.emplace(series, each.number).second) fresh.push_back(each);
        if (fresh.empty()) continue;
        const auto add = [&](const SegmentKey& segment, const LiveBlock& block) {
            seen.live.add(segment, block);
        };
        TRY_STATUS(Liveness::for_each(*vault_, series, fresh, add, options_.progress));
    }
    seen.live.settle();
    return {};
}

// There is something to remove from it.
bool Collector::wasteful(const SegmentKey& key, const Generations& generations,
                         const PoolSeen& seen) const {
    if (generations.size() > 1) return true;
    if (seen.spared.contains(key.writer)) return false;
    const auto* blocks = seen.live.find(key);
    return blocks == nullptr || sparse(generations.rbegin()->second, *blocks);
}

bool Collector::sparse(std::uint64_t bytes, const std::vector<LiveBlock>& live) const {
    const auto dead =
        static_cast<double>(bytes) - static_cast<double>(segment_bytes(live, pooled()));
    return dead > options_.dead_share_max * static_cast<double>(bytes);
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
    for (const auto& [id, bytes] : seen.indexes) {
        const bool spared = !seen.abandoned && seen.spared.contains(id.writer);
        if (used.contains({id.writer, id.number}) || spared) continue;
        names.push_back(id.object_name());
        report.bytes_after -= bytes;
        ++report.indexes_removed;
    }
    return vault_->store().remove(names);
}

void Collector::count_segments(const SegmentBytes& segments, CollectReport& report) {
    for (const auto& [key, generations] : segments) {
        for (const auto& [generation, bytes] : generations) {
            report.bytes_before += bytes;
            report.bytes_after += bytes;
        }
    }
}

Status Collector::collect_segments(const SegmentBytes& segments, const std::set<Uuid>& spared,
                                   const Liveness::Segments& live, CollectReport& report) const {
    std::vector<std::string> names;
    for (const auto& [key, generations] : segments) {
        const bool used = live.contains(key) || spared.contains(key.writer);
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
    for (const auto& [key, generations] : segments) {
        options_.progress(++done, segments.size());
        const auto blocks = live.find(key);
        if (blocks == live.end() || spared.contains(key.writer)) continue;
        TRY_STATUS(compact(key, generations.rbegin()->first, generations.rbegin()->second,
                           blocks->second, report));
    }
    return {};
}

Status Collector::compact(const SegmentKey& key, std::uint32_t generation, std::uint64_t bytes,
                          const std::vector<LiveBlock>& live, CollectReport& report) const {
    if (!sparse(bytes, live)) return {};
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

// As they are stored, and by groups: the blocks that are kept get proofs anew, so they are taken
// for what was stored by the proof that they had.
Result<std::uint64_t> Collector::rewrite(const SegmentKey& key, std::uint32_t generation,
                                         const std::vector<LiveBlock>& live) const {
    ObjectStore& store = vault_->store();
    const OpenSegment old = TRY(open_segment(store, vault_->id(), segment_id(key, generation)));
    const auto& entries = old.table.entries;
    SegmentTable table = old.table;
    table.entries.clear();
    table.proofs.clear();
    SegmentWriter writer =
        TRY(SegmentWriter::begin(*vault_, segment_id(key, generation + 1), std::move(table)));
    std::size_t number = 0;
    auto wanted = live.begin();
    for (const SegmentTable::Group& group : old.table.groups()) {
        const std::size_t its_number = number++;
        std::vector<std::size_t> kept;  // by their places in the group
        for (std::size_t i = 0; i < group.size(); ++i) {
            if (wanted == live.end() || entries[group[i]].origin != wanted->origin) continue;
            ++wanted;
            kept.push_back(i);
        }
        if (kept.empty()) continue;
        const StoredGroup found = StoredGroup::read(store, old, its_number, group);
        TRY_STATUS(refuse_damaged(old, found, kept));
        for (const std::size_t i : kept)
            TRY_STATUS(writer.append(found.blocks()[i].entry, found.blocks()[i].stored));
    }
    if (wanted != live.end())
        return object_damaged(old.id.object_name(), "a block that is in use is not in it");
    return writer.commit();
}

// Where the proof does not hold because a block that nobody needs is damaged, the others go by
// both of their CRCs. Where nothing says why it does not, none of them is to get a new one. (An
// identity goes along with its block, and says what it was whatever became of it.)
Status Collector::refuse_damaged(const OpenSegment& segment, const StoredGroup& group,
                                 const std::vector<std::size_t>& kept) const {
    const std::string name = segment.id.object_name();
    for (const std::size_t i : kept) {
        const StoredGroup::Block& block = group.blocks()[i];
        if (!block.read) return block.read;
        if (!block.sound)
            return object_damaged(name, "the stored block that was at " +
                                            std::to_string(block.entry.origin) +
                                            " fails its check");
    }
    if (segment.table.identities || group.proven(vault_->proof_key())) return {};
    if (std::ranges::all_of(group.blocks(), &StoredGroup::Block::sound))
        return object_damaged(name, "stored blocks have their CRCs, and not their proof");
    Codec codec;
    for (const std::size_t i : kept) {
        if (!group.checks(group.blocks()[i], codec))
            return object_damaged(name, "a stored block fails the check of its contents");
    }
    return {};
}

}  // namespace towline
