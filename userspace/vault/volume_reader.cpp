// SPDX-License-Identifier: Apache-2.0
// From a range to its blocks (indexes, the newest first), from blocks to segments (neighbours in
// one read), and out through the checks: decompressed to exactly the block's length, and of the CRC
// that volume and offset give. What fails them is never handed on.

#include "userspace/vault/volume_reader.hpp"

#include <algorithm>
#include <cstring>

#include "io/checksum.hpp"
#include "transport/codec.hpp"

namespace towline {

namespace format = vault_format;

Result<std::shared_ptr<VolumeReader>> VolumeReader::open(const std::shared_ptr<Vault>& vault,
                                                         const std::string& series,
                                                         const PointVolume& volume) {
    std::shared_ptr<VolumeReader> reader(new VolumeReader(vault, series, volume));
    reader->indexes_ = TRY(open_indexes(vault, series, volume));
    return reader;
}

Result<std::vector<Index>> VolumeReader::open_indexes(const std::shared_ptr<Vault>& vault,
                                                      const std::string& series,
                                                      const PointVolume& volume) {
    std::vector<std::string> names;
    names.reserve(volume.indexes.size());
    for (const PointIndex& each : volume.indexes)
        names.push_back(
            ObjectId{format::ObjectKind::kIndex, series, each.writer, each.serial}.object_name());
    vault->store().expect(names);
    std::vector<Index> indexes;
    indexes.reserve(volume.indexes.size());
    for (const PointIndex& each : volume.indexes) {
        const ObjectId id{format::ObjectKind::kIndex, series, each.writer, each.serial};
        auto index = Index::open(vault->shared_store(), vault->id(), id, each.sha256);
        if (!index && index.error().system_errno == ENOENT)
            return object_damaged(id.object_name(), "it is lost");
        indexes.push_back(TRY(std::move(index)));
        if (indexes.back().geometry().block_bytes != volume.block_bytes)
            return object_damaged(id.object_name(), "its blocks are of another size");
    }
    return indexes;
}

std::shared_ptr<VolumeReader> VolumeReader::over(std::shared_ptr<Vault> vault,
                                                 const std::string& series,
                                                 const PointVolume& volume,
                                                 std::vector<IndexLayer> layers,
                                                 std::vector<Index> indexes) {
    std::shared_ptr<VolumeReader> reader(new VolumeReader(std::move(vault), series, volume));
    reader->layers_ = std::move(layers);
    reader->indexes_ = std::move(indexes);
    return reader;
}

std::uint64_t VolumeReader::block_count() const {
    return (volume_.bytes - 1) / volume_.block_bytes + 1;
}

std::uint32_t VolumeReader::plain_bytes(std::uint64_t block) const {
    const std::uint64_t rest = volume_.bytes - block * volume_.block_bytes;
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(volume_.block_bytes, rest));
}

// --- indexes ------------------------------------------------------------------------------------

Result<std::shared_ptr<const Index::Entries>> VolumeReader::page(std::size_t index,
                                                                 std::size_t page) {
    const PageKey key{index, page};
    {
        const std::lock_guard lock(mutex_);
        const auto found = pages_.find(key);
        if (found != pages_.end()) {
            order_.splice(order_.end(), order_, found->second.second);
            return found->second.first;
        }
    }
    auto entries = TRY(indexes_[index].read_page(page));
    const std::lock_guard lock(mutex_);
    if (pages_.contains(key)) return entries;
    if (pages_.size() >= kPagesMax) {
        pages_.erase(order_.front());
        order_.pop_front();
    }
    pages_.emplace(key, std::pair(entries, order_.insert(order_.end(), key)));
    return entries;
}

// What these entries say of blocks that nothing newer spoke of.
void VolumeReader::fill(std::span<const IndexEntry> entries, std::span<const SegmentRef> segments,
                        std::uint64_t first, std::vector<Located>& blocks, std::uint64_t& missing) {
    const std::uint64_t end = first + blocks.size();
    auto entry = std::ranges::upper_bound(entries, first, {}, &IndexEntry::end);
    for (; entry != entries.end() && entry->block < end; ++entry) {
        const std::uint64_t stop = std::min(entry->end(), end);
        for (std::uint64_t block = std::max(entry->block, first); block < stop; ++block) {
            Located& located = blocks[block - first];
            if (located.count != 0) continue;
            located = {.first = block, .count = 1, .zeros = entry->zeros(), .entry = *entry};
            if (!entry->zeros()) located.segment = segments[entry->segment];
            --missing;
        }
    }
}

Status VolumeReader::overlay(std::size_t index, std::uint64_t first, std::vector<Located>& blocks,
                             std::uint64_t& missing) {
    const Index& its = indexes_[index];
    for (std::size_t at = its.page_of(first);
         at < its.page_count() && its.page_first_block(at) < first + blocks.size(); ++at) {
        const auto entries = TRY(page(index, at));
        fill(*entries, its.segments(), first, blocks, missing);
    }
    return {};
}

Result<std::vector<VolumeReader::Located>> VolumeReader::locate(std::uint64_t first,
                                                                std::uint64_t count) {
    std::vector<Located> blocks(std::min({count, kLocateMax, block_count() - first}));
    std::uint64_t missing = blocks.size();
    for (const IndexLayer& each : layers_)
        fill(each.entries, each.segments, first, blocks, missing);
    for (std::size_t index = 0; index < indexes_.size() && missing > 0; ++index)
        TRY_STATUS(overlay(index, first, blocks, missing));
    std::vector<Located> runs;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
        Located& block = blocks[i];
        if (block.count == 0 || block.zeros)
            block = {.first = first + i, .count = 1, .zeros = true, .entry = {}};
        const bool joins = block.zeros && !runs.empty() && runs.back().zeros;
        if (joins) {
            ++runs.back().count;
        } else {
            runs.push_back(block);
        }
    }
    return runs;
}

Result<std::uint64_t> VolumeReader::next_data(std::uint64_t from) {
    while (from < block_count()) {
        // Where every index is past this block, nothing is there until one of them begins.
        std::uint64_t begins = block_count();
        for (const Index& each : indexes_) {
            const std::size_t at = each.page_of(from);
            if (at < each.page_count())
                begins = std::min(begins, std::max(from, each.page_first_block(at)));
        }
        for (const IndexLayer& each : layers_) {
            const auto at = std::ranges::upper_bound(each.entries, from, {}, &IndexEntry::end);
            if (at != each.entries.end()) begins = std::min(begins, std::max(from, at->block));
        }
        from = begins;
        if (from == block_count()) break;
        for (const Located& run : TRY(locate(from, kLocateMax))) {
            if (!run.zeros) return run.first;
            from = run.first + run.count;
        }
    }
    return block_count();
}

Result<std::uint64_t> VolumeReader::next_zeros(std::uint64_t from) {
    while (from < block_count()) {
        for (const Located& run : TRY(locate(from, kLocateMax))) {
            if (run.zeros) return run.first;
            from = run.first + run.count;
        }
    }
    return block_count();
}

// --- blocks -------------------------------------------------------------------------------------

Status VolumeReader::read(std::uint64_t offset_bytes, MutableByteSpan into) {
    if (offset_bytes > volume_.bytes || into.size() > volume_.bytes - offset_bytes)
        return fail(Code::kInvalid, "a read behind the end of the volume " + volume_.name);
    const std::uint64_t window = std::max<std::uint64_t>(kReadBytesMax, volume_.block_bytes);
    while (!into.empty()) {
        // Windows end between blocks.
        const std::uint64_t end =
            std::min(offset_bytes + into.size(), (offset_bytes / window + 1) * window);
        const auto some = into.first(end - offset_bytes);
        Status done = read_blocks(offset_bytes, some);
        if (!done) {
            Error error = done.error();
            error.context = "bytes " + std::to_string(offset_bytes) + " to " +
                            std::to_string(end - 1) + " of " + volume_.name +
                            " cannot be read: " + error.context;
            return std::unexpected(std::move(error));
        }
        into = into.subspan(some.size());
        offset_bytes = end;
    }
    return {};
}

Status VolumeReader::read_blocks(std::uint64_t offset_bytes, MutableByteSpan into) {
    const std::uint64_t first = offset_bytes / volume_.block_bytes;
    const std::uint64_t last = (offset_bytes + into.size() - 1) / volume_.block_bytes;
    const auto runs = TRY(locate(first, last - first + 1));
    for (std::size_t at = 0; at < runs.size();) {
        std::size_t end = at + 1;
        if (runs[at].zeros) {
            const std::uint64_t begin = runs[at].first * volume_.block_bytes;
            const std::uint64_t stop = begin + runs[at].count * volume_.block_bytes;
            const std::uint64_t from = std::max(begin, offset_bytes);
            const std::uint64_t to = std::min(stop, offset_bytes + into.size());
            std::memset(into.data() + (from - offset_bytes), 0, to - from);
        } else {
            // Blocks that lie one behind the other are one read.
            while (end < runs.size() && !runs[end].zeros && runs[end].segment == runs[at].segment &&
                   runs[end].entry.origin ==
                       runs[end - 1].entry.origin + runs[end - 1].entry.stored_bytes)
                ++end;
            TRY_STATUS(read_stored(std::span(runs).subspan(at, end - at), offset_bytes, into));
        }
        at = end;
    }
    return {};
}

Status VolumeReader::read_stored(std::span<const Located> blocks, std::uint64_t offset_bytes,
                                 MutableByteSpan into) {
    std::vector<BlockFetcher::Wanted> wanted;
    std::size_t bytes = 0;
    for (const Located& each : blocks) {
        wanted.push_back({each.entry.origin, each.entry.stored_bytes});
        bytes += each.entry.stored_bytes;
    }
    const auto memory = std::make_unique_for_overwrite<std::byte[]>(bytes);
    const MutableByteSpan stored(memory.get(), bytes);
    TRY_STATUS(fetcher_.fetch(blocks.front().segment, wanted, stored));
    std::vector<std::byte> aside;
    std::size_t at = 0;
    for (const Located& each : blocks) {
        const ByteSpan its = ByteSpan(stored).subspan(at, each.entry.stored_bytes);
        at += each.entry.stored_bytes;
        const std::uint64_t begin = each.first * volume_.block_bytes;
        const std::uint32_t length = plain_bytes(each.first);
        const bool whole = begin >= offset_bytes && begin + length <= offset_bytes + into.size();
        if (whole) {
            TRY_STATUS(decode(each, its, into.subspan(begin - offset_bytes, length)));
            continue;
        }
        aside.resize(length);
        TRY_STATUS(decode(each, its, aside));
        copy_out(each.first, aside, offset_bytes, into);
    }
    return {};
}

Status VolumeReader::decode(const Located& block, ByteSpan stored, MutableByteSpan plain) const {
    thread_local Codec codec;
    const std::uint64_t offset = block.first * volume_.block_bytes;
    const auto check = BlockCheck::with_seed(block.segment.seed);
    TRY_STATUS(codec.decompress(static_cast<BlockKind>(block.entry.kind), stored, plain));
    if (check.of(plain, offset) != block.entry.check) {
        const ObjectId segment{format::ObjectKind::kSegment, "", block.segment.writer,
                               block.segment.serial, format::kGenerationFirst};
        return fail(Code::kCorrupt, "the block at byte " + std::to_string(offset) +
                                        " is damaged (CRC mismatch), in " + segment.object_name());
    }
    return {};
}

void VolumeReader::copy_out(std::uint64_t block, ByteSpan plain, std::uint64_t offset_bytes,
                            MutableByteSpan into) const {
    const std::uint64_t begin = block * volume_.block_bytes;
    const std::uint64_t from = std::max(begin, offset_bytes);
    const std::uint64_t to = std::min(begin + plain.size(), offset_bytes + into.size());
    std::memcpy(into.data() + (from - offset_bytes), plain.data() + (from - begin), to - from);
}

// --- points -------------------------------------------------------------------------------------

namespace {

// The one that is sought may be one that cannot be read: then no other takes its place.
Status refuse_unread(const SeriesState& state, const std::string& id, const std::string& name) {
    const std::uint64_t newest = state.points.empty() ? 0 : state.points.back().number;
    for (const auto& [number, error] : state.damaged) {
        if (id == "latest" && number < newest) continue;
        return fail(Code::kCorrupt, "of " + name + " not all can be read: " + error.context +
                                        "; see: towline point list");
    }
    for (const std::uint64_t number : state.lost()) {
        if (id == "latest" && number < newest) continue;
        return fail(Code::kCorrupt, "the entry of a point of " + name +
                                        " is lost; see: towline point list, towline vault check");
    }
    return {};
}

}  // namespace

Result<Point> find_point(const SeriesState& state, const std::string& id, const std::string& name) {
    std::vector<const Point*> found;
    for (const Point& each : state.points) {
        const bool latest = id == "latest" && &each == state.newest();
        if (latest || (!id.empty() && each.id.text().starts_with(id))) found.push_back(&each);
    }
    if (id == "latest" || found.empty()) TRY_STATUS(refuse_unread(state, id, name));
    if (found.size() == 1) return *found.front();
    if (found.size() > 1)
        return fail(Code::kRefused, "several points of " + name + " begin with " + id);
    return fail(Code::kRefused, "there is no point " + id + " of " + name +
                                    " in the vault; see: towline point list");
}

Result<OpenPoint> OpenPoint::open(std::shared_ptr<Vault> vault, const std::string& series,
                                  const std::string& id) {
    const SeriesLog log(vault, series);
    OpenPoint open;
    const SeriesState before = TRY(log.read());
    open.point_ = TRY(find_point(before, id, decode_series(series)));
    open.pin_ = TRY(log.pin(open.point_.number, HoldKind::kShared));
    // It may have been deleted until it was pinned.
    const SeriesState after = TRY(log.read());
    TRY_STATUS(find_point(after, open.point_.id.text(), decode_series(series)));
    open.vault_ = std::move(vault);
    open.series_ = series;
    return open;
}

Result<OpenPoint> OpenPoint::open(const VaultName& name, const KeySource& keys) {
    const std::string series = TRY(encode_series(name.name));
    return open(TRY(name.open(keys)), series, name.point);
}

Result<std::shared_ptr<VolumeReader>> OpenPoint::volume(std::size_t index) const {
    return VolumeReader::open(vault_, series_, point_.volumes[index]);
}

}  // namespace towline
