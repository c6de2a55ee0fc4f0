// SPDX-License-Identifier: Apache-2.0
// A change map as it is kept over a restart. A damaged map that is believed loses changes, so a
// reader believes nothing: the CRC first, then the bounds and the order of everything. What is
// allocated is bounded by the geometry, and the geometry by change_map_format.hpp, before the first
// allocation.

#include <algorithm>
#include <bit>

#include "cbt/change_map.hpp"
#include "cbt/change_map_format.hpp"
#include "io/checksum.hpp"

namespace towline {
namespace {

namespace format = change_map_format;

std::unexpected<Error> damaged(const char* what) {
    return fail(Code::kCorrupt, std::string("the saved change map is damaged: ") + what);
}

// Seven bits a byte, the lowest first; the top bit says that another follows.
void put_varint(ByteWriter& writer, std::uint64_t value) {
    for (; value >= 0x80; value >>= 7)
        writer.put(static_cast<std::uint8_t>(value | 0x80));
    writer.put(static_cast<std::uint8_t>(value));
}

// Nothing when it is cut off, does not fit 64 bits or is longer than it has to be.
std::optional<std::uint64_t> get_varint(ByteReader& reader) {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        const auto byte = reader.get<std::uint8_t>();
        const std::uint64_t bits = byte & 0x7f;
        if (reader.bad() || (bits << shift) >> shift != bits) return std::nullopt;
        value |= bits << shift;
        if ((byte & 0x80) == 0) return byte == 0 && shift > 0 ? std::nullopt : std::optional(value);
    }
    return std::nullopt;
}

struct Header {
    format::Body body = format::Body::kRuns;
    std::uint32_t block_bytes = 0;
    std::uint64_t volume_bytes = 0;
    std::uint64_t run_count = 0;
    std::uint64_t marked_blocks = 0;
};

void put_header(ByteWriter& writer, const Header& header) {
    writer.put_bytes(std::as_bytes(std::span(format::kMagic)));
    writer.put(format::kVersion).put(static_cast<std::uint32_t>(header.body));
    writer.put(header.block_bytes).put(std::uint32_t{0});
    writer.put(header.volume_bytes).put(header.run_count).put(header.marked_blocks);
}

// Magic and CRC are where they are in every version, so that damage is told from a newer form.
Status check_frame(ByteSpan saved) {
    if (saved.size() < format::kHeaderBytes + format::kTrailerBytes) return damaged("too short");
    const auto magic = std::as_bytes(std::span(format::kMagic));
    if (!std::ranges::equal(saved.first(magic.size()), magic)) return damaged("not a change map");
    if (saved.size() > format::kHeaderBytes + format::kMapBytesMax + format::kTrailerBytes) {
        return damaged("longer than any map");
    }
    const ByteSpan covered = saved.first(saved.size() - format::kTrailerBytes);
    const auto crc = load_le<std::uint32_t>(covered.data() + covered.size());
    if (crc != crc32c(covered)) return damaged("its checksum does not match");
    return {};
}

Result<Header> get_header(ByteReader& reader) {
    reader.get_bytes(format::kMagic.size());
    const auto version = reader.get<std::uint32_t>();
    if (version > format::kVersion) {
        return fail(Code::kUnsupported, "the saved change map was made by a newer Towline (form " +
                                            std::to_string(version) + ")");
    }
    const auto body = reader.get<std::uint32_t>();
    Header header{.body = static_cast<format::Body>(body),
                  .block_bytes = reader.get<std::uint32_t>()};
    const auto reserved = reader.get<std::uint32_t>();
    header.volume_bytes = reader.get<std::uint64_t>();
    header.run_count = reader.get<std::uint64_t>();
    header.marked_blocks = reader.get<std::uint64_t>();
    const bool known = body <= static_cast<std::uint32_t>(format::Body::kWords);
    if (version == 0 || !known || reserved != 0) return damaged("its header is not of any form");
    return header;
}

// Runs lie in order with a clear block between them: there is one way to write a set of marks.
Status get_runs(ByteReader& reader, std::uint64_t run_count, ChangeMap& map) {
    std::uint64_t at = 0;
    for (std::uint64_t run = 0; run < run_count; ++run) {
        const auto gap = get_varint(reader);
        const auto count = get_varint(reader);
        const std::uint64_t room = map.block_count() - at;
        if (!gap || !count || *gap > room || *count == 0 || *count > room - *gap ||
            (run > 0 && *gap == 0)) {
            return damaged("a run is out of place");
        }
        map.mark_blocks({at + *gap, *count});
        at += *gap + *count;
    }
    return {};
}

// Nothing when the bits take less room than the runs.
std::optional<std::vector<std::byte>> runs_of(const ChangeMap& map, std::uint64_t& run_count) {
    ByteWriter runs;
    std::uint64_t previous_end = 0;
    for (auto run = map.next_run(0); run; run = map.next_run(run->end())) {
        put_varint(runs, run->first - previous_end);
        put_varint(runs, run->count);
        previous_end = run->end();
        ++run_count;
        if (runs.bytes().size() > map.memory_bytes()) return std::nullopt;
    }
    return runs.take();
}

}  // namespace

std::vector<std::byte> ChangeMap::save() const {
    Header header{.block_bytes = block_bytes_, .volume_bytes = volume_bytes_};
    header.marked_blocks = marked_blocks();
    const auto runs = runs_of(*this, header.run_count);
    if (!runs) {
        header.body = format::Body::kWords;
        header.run_count = 0;
    }
    ByteWriter writer;
    put_header(writer, header);
    writer.put_bytes(runs ? ByteSpan(*runs) : std::as_bytes(std::span(words_)));
    writer.put(crc32c(writer.bytes()));
    return writer.take();
}

Result<ChangeMap> ChangeMap::load(ByteSpan saved) {
    TRY_STATUS(check_frame(saved));
    ByteReader reader(saved.first(saved.size() - format::kTrailerBytes));
    const Header header = TRY(get_header(reader));
    // A map without a geometry is what the default constructor makes.
    const bool unset = header.block_bytes == 0 && header.volume_bytes == 0;
    if (!unset && !format::geometry_allowed(header.volume_bytes, header.block_bytes)) {
        return damaged("its geometry is out of bounds");
    }
    ChangeMap map = unset ? ChangeMap() : ChangeMap(header.volume_bytes, header.block_bytes);
    if (header.body == format::Body::kRuns) {
        TRY_STATUS(get_runs(reader, header.run_count, map));
    } else {
        const ByteSpan bits = reader.get_bytes(map.memory_bytes());
        std::ranges::copy(bits, std::as_writable_bytes(std::span(map.words_)).begin());
        const unsigned used = map.block_count_ % 64;
        const bool past_end = used != 0 && map.words_.back() >> used != 0;
        if (header.run_count != 0 || past_end) return damaged("marks are out of place");
    }
    if (!reader.finished()) return damaged("it is shorter or longer than it says");
    if (map.marked_blocks() != header.marked_blocks) return damaged("its counts do not match");
    return map;
}

}  // namespace towline
