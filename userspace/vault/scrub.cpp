// SPDX-License-Identifier: Apache-2.0
// Everything that is stored is read and checked: heads, tables, pages, stored blocks (as they are
// stored, what they decompress to, and their proofs or identities), and that what points refer to
// is there and is what they say. One damaged object hides nothing else: it becomes a finding, with
// the points and bytes that it costs, and the scrub goes on.

#include "userspace/vault/scrub.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include <nlohmann/json.hpp>

#include "io/checksum.hpp"
#include "transport/codec.hpp"
#include "userspace/vault/index.hpp"
#include "userspace/vault/proof_check.hpp"

namespace towline {

namespace format = vault_format;
using format::ObjectKind;

namespace {

constexpr std::size_t kReadBytes = std::size_t{4} << 20;

bool is_damage(const Error& error) {
    return error.code == Code::kCorrupt || error.code == Code::kUnsupported ||
           error.system_errno == ENOENT || error.system_errno == EIO;
}

Extent whole(const PointVolume& volume) {
    return {0, volume.bytes};
}

std::string shown(const std::string& series, const Point& point) {
    return decode_series(series) + "@" + point.id.text();
}

}  // namespace

void Scrub::find(const std::string& object, const std::string& what) {
    report_.findings.push_back({.object = object, .what = what, .hits = {}});
}

Result<ScrubReport> Scrub::run() {
    began_ = monotonic_now();
    TRY_STATUS(scrub_config());
    auto names = TRY(vault_->series());
    if (!options_.only.empty()) {
        const auto one = std::ranges::find(names, options_.only);
        if (one == names.end())
            return fail(Code::kRefused,
                        "there is no " + decode_series(options_.only) + " in the vault");
        // Blocks that names share are judged by all of them.
        if (!vault_->config().dedup) names = {options_.only};
    }
    std::set<std::string> folders;
    for (const std::string& name : names) {
        for (const auto kind : {ObjectKind::kLogEntry, ObjectKind::kIndex})
            folders.insert(object_folder(kind, name));
        if (options_.blocks)
            folders.insert(object_folder(ObjectKind::kSegment, vault_->segment_series(name)));
    }
    for (const std::string& folder : folders)
        for (const ObjectInfo& each : TRY(vault_->store().list(folder)))
            total_bytes_ += each.bytes;
    if (vault_->config().dedup) {
        TRY_STATUS(scrub_pool(names));
        return std::move(report_);
    }
    for (const std::string& name : names) {
        const Segments segments = TRY(list_segments(name));
        const Series series = TRY(scrub_series(name));
        TRY_STATUS(scrub_blocks(segments, {&series, 1}));
    }
    return std::move(report_);
}

// A block may be shown by the points of any name.
Status Scrub::scrub_pool(std::span<const std::string> names) {
    const Segments segments = TRY(list_segments({}));
    std::vector<Series> all;
    for (const std::string& name : names)
        all.push_back(TRY(scrub_series(name)));
    return scrub_blocks(segments, all);
}

Status Scrub::scrub_config() {
    for (const ObjectInfo& each : TRY(vault_->store().list("config/"))) {
        const auto id = parse_object_name(ObjectKind::kConfig, "", each.name);
        const auto read = id ? get_document(vault_->store(), vault_->id(), *id)
                             : Result<nlohmann::json>(object_damaged(each.name, "a strange name"));
        if (!read) find(each.name, read.error().context);
        ++report_.objects;
        report_.bytes += each.bytes;
    }
    return {};
}

Result<Scrub::Segments> Scrub::list_segments(const std::string& name) {
    Segments segments;
    const std::string series = vault_->segment_series(name);
    for (const ObjectInfo& each :
         TRY(vault_->store().list(object_folder(ObjectKind::kSegment, series)))) {
        const auto id = parse_object_name(ObjectKind::kSegment, series, each.name);
        if (id) {
            segments[{id->writer, id->number}].emplace_back(*id, each.bytes);
        } else {
            find(each.name, "an object that is none of the vault's");
        }
    }
    return segments;
}

Result<Scrub::Series> Scrub::look(const std::string& name) {
    Series series{.name = name, .state = {}, .indexes = {}, .readable = {}};
    ObjectStore& store = vault_->store();
    for (const ObjectInfo& each : TRY(store.list(object_folder(ObjectKind::kIndex, name)))) {
        const auto id = parse_object_name(ObjectKind::kIndex, name, each.name);
        if (id) {
            series.indexes.push_back(*id);
        } else {
            find(each.name, "an object that is none of the vault's");
        }
    }
    for (const ObjectInfo& each : TRY(store.list(object_folder(ObjectKind::kLogEntry, name)))) {
        if (!parse_object_name(ObjectKind::kLogEntry, name, each.name))
            find(each.name, "an object that is none of the vault's");
        count(1, each.bytes);
    }
    series.state = TRY(SeriesLog(vault_, name).read());
    return series;
}

Result<Scrub::Series> Scrub::scrub_series(const std::string& name) {
    Series series = TRY(look(name));
    scrub_log(series);
    const auto unreadable = scrub_indexes(series);
    for (std::size_t at = 0; at < series.state.points.size(); ++at) {
        if (std::ranges::find(unreadable, at) == unreadable.end())
            series.readable.push_back(series.state.points[at]);
    }
    report_.points += series.state.points.size();
    return series;
}

Status Scrub::scrub_blocks(const Segments& segments, std::span<const Series> shown_by) {
    std::map<SegmentKey, Bad> bad;
    std::set<SegmentKey> used;
    TRY_STATUS(scrub_segments(segments, bad));
    for (const Series& series : shown_by) {
        const auto live = TRY(Liveness::of(*vault_, series.name, series.readable));
        TRY_STATUS(check_live(segments, series.name, live, bad));
        for (const auto& each : live)
            used.insert(each.first);
    }
    for (const auto& [key, generations] : segments) {
        const std::size_t old = used.contains(key) ? generations.size() - 1 : generations.size();
        for (std::size_t i = 0; i < old; ++i)
            report_.garbage_bytes += generations[i].second;
    }
    return report_bad(shown_by, bad);
}

void Scrub::scrub_log(const Series& series) {
    const SeriesLog log(vault_, series.name);
    for (const auto& [number, error] : series.state.damaged)
        find(log.entry_id(number).object_name(), error.context);
    for (const std::uint64_t number : series.state.counting) {
        const bool there = std::ranges::any_of(
            series.state.points, [&](const Point& each) { return each.number == number; });
        if (!there && !series.state.damaged.contains(number))
            find(log.entry_id(number).object_name(), "a point's entry is lost");
    }
}

// The points (by place) that cannot be read whole, because an index is damaged.
std::vector<std::size_t> Scrub::scrub_indexes(const Series& series) {
    std::map<std::pair<Uuid, std::uint64_t>, std::string> bad;
    const auto scrub = [&](const ObjectId& id, const std::optional<Sha256>& expected) -> Status {
        vault_->store().forget(id.object_name());
        const Index index = TRY(Index::open(vault_->shared_store(), vault_->id(), id, expected));
        for (std::size_t page = 0; page < index.page_count(); ++page)
            TRY_STATUS(index.read_page(page));
        count(1, index.entry_count() * format::kIndexEntryBytes);
        return {};
    };
    std::set<std::pair<Uuid, std::uint64_t>> seen;
    const auto once = [&](const ObjectId& id, const std::optional<Sha256>& expected) {
        if (!seen.emplace(id.writer, id.number).second) return;
        const Status read = scrub(id, expected);
        if (!read) bad[{id.writer, id.number}] = read.error().context;
    };
    for (const Point& point : series.state.points)
        for (const PointVolume& volume : point.volumes)
            for (const PointIndex& each : volume.indexes)
                once({ObjectKind::kIndex, series.name, each.writer, each.serial}, each.sha256);
    for (const ObjectId& id : series.indexes)
        once(id, std::nullopt);
    std::vector<std::size_t> unreadable;
    for (const auto& [key, what] : bad) {
        const ObjectId id{ObjectKind::kIndex, series.name, key.first, key.second};
        find(id.object_name(), what);
        for (std::size_t at = 0; at < series.state.points.size(); ++at) {
            for (const PointVolume& volume : series.state.points[at].volumes) {
                const bool has = std::ranges::any_of(volume.indexes, [&](const PointIndex& each) {
                    return each.writer == key.first && each.serial == key.second;
                });
                if (!has) continue;
                unreadable.push_back(at);
                report_.findings.back().hits.push_back(
                    {shown(series.name, series.state.points[at]), volume.name, {whole(volume)}});
            }
        }
    }
    return unreadable;
}

// --- segments -----------------------------------------------------------------------------------

// Blocks of which some cannot be read, one by one: true for those that can.
std::vector<bool> Scrub::read_blocks(const OpenSegment& segment, std::size_t first, std::size_t end,
                                     MutableByteSpan into) const {
    std::vector<bool> read;
    for (std::size_t i = first; i < end; ++i) {
        const std::uint32_t bytes = segment.table.entries[i].stored_bytes;
        read.push_back(read_exactly(vault_->store(), segment.id.object_name(), segment.offsets[i],
                                    into.first(bytes))
                           .has_value());
        into = into.subspan(bytes);
    }
    return read;
}

// Contents a piece at a time; a stored block may lie across two.
Result<Scrub::Bad> Scrub::scrub_segment(const OpenSegment& segment) const {
    Bad bad{.object = segment.id.object_name()};
    Codec codec;
    const auto check = BlockCheck::with_seed(segment.table.seed);
    ProofCheck proofs(*vault_, segment);
    std::vector<std::byte> plain(segment.table.block_bytes);
    std::vector<std::byte> piece;
    const auto& entries = segment.table.entries;
    for (std::size_t first = 0; first < entries.size();) {
        std::size_t end = first;
        std::size_t bytes = 0;
        while (end < entries.size() &&
               (end == first || bytes + entries[end].stored_bytes <= kReadBytes))
            bytes += entries[end++].stored_bytes;
        piece.resize(bytes);
        const Status read =
            read_exactly(vault_->store(), bad.object, segment.offsets[first], piece);
        if (!read && !is_damage(read.error())) return std::unexpected(read.error());
        const auto readable =
            read ? std::vector<bool>(end - first, true) : read_blocks(segment, first, end, piece);
        std::size_t at = 0;
        for (std::size_t i = first; i < end; ++i) {
            const SegmentEntry& entry = entries[i];
            const ByteSpan stored = ByteSpan(piece).subspan(at, entry.stored_bytes);
            at += entry.stored_bytes;
            if (entry.zeros()) continue;
            const MutableByteSpan into =
                MutableByteSpan(plain).first(segment.table.plain_bytes(entry.block));
            const std::uint64_t offset = entry.block * segment.table.block_bytes;
            const bool good = readable[i - first] && crc32c(stored) == entry.stored_crc &&
                              codec.decompress(static_cast<BlockKind>(entry.kind), stored, into) &&
                              check.of(into, offset) == entry.check;
            proofs.add(entry, stored, into, good);
            if (good) continue;
            bad.origins.push_back(entry.origin);
            bad.what = read ? "a stored block fails its check" : read.error().context;
        }
        first = end;
    }
    const auto unproven = proofs.finish();
    if (unproven.empty()) return bad;
    bad.what = "stored blocks have their CRCs, and are not what was stored";
    bad.origins.insert(bad.origins.end(), unproven.begin(), unproven.end());
    std::ranges::sort(bad.origins);
    return bad;
}

void Scrub::count(std::uint64_t objects, std::uint64_t bytes) {
    report_.objects += objects;
    report_.bytes += bytes;
    options_.progress(report_.bytes, total_bytes_);
}

Status Scrub::pace() {
    if (options_.cancelled())
        return fail(Code::kCancelled, "the scrub was interrupted; --resume goes on");
    if (options_.bytes_per_second == 0) return {};
    const std::uint64_t read_bytes = report_.bytes - report_.resumed_bytes;
    const auto due =
        began_ +
        std::chrono::duration_cast<Duration>(std::chrono::duration<double>(
            static_cast<double>(read_bytes) / static_cast<double>(options_.bytes_per_second)));
    while (monotonic_now() < due && !options_.cancelled())
        std::this_thread::sleep_for(std::min<Duration>(due - monotonic_now(), 100ms));
    return {};
}

Status Scrub::scrub_segments(const Segments& segments, std::map<SegmentKey, Bad>& bad) {
    std::vector<std::pair<ObjectId, std::uint64_t>> all;
    for (const auto& [key, generations] : segments)
        all.insert(all.end(), generations.begin(), generations.end());
    std::mutex mutex;  // over bad, report_, failed and the options' calls
    std::optional<Error> failed;
    std::atomic<std::size_t> next{0};
    const auto serve = [&] {
        for (std::size_t at = next++; at < all.size(); at = next++) {
            const auto& [id, bytes] = all[at];
            const std::string object = id.object_name();
            const bool read = options_.blocks && !options_.sound_before.contains(object);
            if (read) vault_->store().forget(object);
            const auto opened = open_segment(vault_->store(), vault_->id(), id);
            auto found = !opened ? Result<Bad>(std::unexpected(opened.error()))
                         : read  ? scrub_segment(*opened)
                                 : Result<Bad>(Bad{});
            const std::lock_guard lock(mutex);
            if (options_.blocks && !read) report_.resumed_bytes += bytes;
            if (!found && is_damage(found.error())) {
                const std::string what = found.error().context;
                found = Bad{.whole = true, .origins = {}, .what = what, .object = object};
            }
            if (!found) {
                failed = found.error();
                next = all.size();
                return;
            }
            const bool is_bad = found->whole || !found->origins.empty();
            if (is_bad) bad[{id.writer, id.number}] = *found;
            if (read && !is_bad) options_.on_sound(object);
            if (opened) report_.blocks += opened->table.entries.size();
            count(1, options_.blocks ? bytes : 0);
            const Status paced = pace();
            if (!paced) failed = paced.error();
            if (failed) next = all.size();
        }
    };
    std::vector<std::thread> threads;
    for (unsigned i = 1; i < options_.threads; ++i)
        threads.emplace_back(serve);
    serve();
    for (std::thread& thread : threads)
        thread.join();
    return failed ? Status(std::unexpected(*failed)) : Status{};
}

namespace {

// CRC-32C of a block of zeros, gone on with from `start`.
std::uint32_t over_zeros(std::uint32_t start, std::uint32_t block_bytes) {
    static constexpr std::array<std::byte, format::kBlockBytesMin> kZeros{};
    for (std::uint32_t at = 0; at < block_bytes; at += format::kBlockBytesMin)
        start = crc32c(kZeros, start);
    return start;
}

// Whether a reader that goes by the index finds the block there. One that another one shares is of
// another place, and the index has the CRC as of its own: the two differ by what the same length of
// zeros makes of where they began, so that nothing has to be read.
bool shows(const SegmentTable& table, const SegmentEntry& entry, const LiveBlock& block,
           bool shared) {
    if (entry.stored_bytes != block.stored_bytes || entry.kind != block.kind) return false;
    const std::uint32_t start =
        BlockCheck::with_seed(table.seed).of({}, entry.block * table.block_bytes);
    const bool at_home = entry.block == block.block && start == block.start;
    if (at_home) return entry.check == block.check;
    if (!shared || table.plain_bytes(entry.block) != table.block_bytes) return false;
    const std::uint32_t difference =
        over_zeros(start, table.block_bytes) ^ over_zeros(block.start, table.block_bytes);
    return (entry.check ^ difference) == block.check;
}

}  // namespace

// What points show has to be there.
Status Scrub::check_live(const Segments& segments, const std::string& name,
                         const Liveness::Segments& live, std::map<SegmentKey, Bad>& bad) {
    const bool shared = vault_->config().dedup.has_value();
    const std::string folder = vault_->segment_series(name);
    for (const auto& [key, blocks] : live) {
        const auto known = bad.find(key);
        if (known != bad.end() && known->second.whole) continue;
        const auto found = segments.find(key);
        if (found == segments.end()) {
            // It may have come since they were listed.
            if (TRY(find_segment(vault_->store(), folder, key.writer, key.serial))) continue;
            const ObjectId first{ObjectKind::kSegment, folder, key.writer, key.serial,
                                 format::kGenerationFirst};
            bad[key] = {
                .whole = true, .origins = {}, .what = "it is lost", .object = first.object_name()};
            continue;
        }
        const ObjectId& newest = found->second.back().first;
        const auto opened = open_segment(vault_->store(), vault_->id(), newest);
        if (!opened) continue;
        std::map<std::uint32_t, const SegmentEntry*> by_origin;
        for (const SegmentEntry& each : opened->table.entries)
            if (!each.zeros()) by_origin[each.origin] = &each;
        Bad lacks{.object = newest.object_name()};
        for (const LiveBlock& block : blocks) {
            const auto entry = by_origin.find(block.origin);
            if (entry != by_origin.end() && shows(opened->table, *entry->second, block, shared))
                continue;
            lacks.origins.push_back(block.origin);
            lacks.what = entry == by_origin.end() ? "a block that is in use is not in it"
                                                  : "a block that is in use is another one in it";
        }
        if (lacks.origins.empty()) continue;
        Bad& its = bad[key];
        lacks.origins.insert(lacks.origins.end(), its.origins.begin(), its.origins.end());
        std::ranges::sort(lacks.origins);
        its = std::move(lacks);
    }
    return {};
}

Status Scrub::report_bad(std::span<const Series> shown_by, const std::map<SegmentKey, Bad>& bad) {
    for (const auto& [key, what] : bad) {
        find(what.object, what.what);
        if (!what.whole) report_.bad_blocks[key] = what.origins;
        for (const Series& series : shown_by) {
            const auto hit = TRY(Liveness::hit_by(
                *vault_, series.name, series.readable,
                [&](const SegmentKey& its, std::uint32_t origin) {
                    return its == key && (what.whole || std::ranges::find(what.origins, origin) !=
                                                            what.origins.end());
                }));
            for (const auto& [at, extents] : hit) {
                const Point& point = series.readable[at.first];
                report_.findings.back().hits.push_back(
                    {shown(series.name, point), point.volumes[at.second].name, extents});
            }
        }
    }
    return {};
}

}  // namespace towline
