// SPDX-License-Identifier: Apache-2.0
// The slot with the last state is never written to: a crash in the middle of a write tears the
// other one. Torn and rotted must be told apart, since behind a rotted slot a later state may be
// lost: every sector carries its own CRC and the write it belongs to, so that a torn slot is made
// of good sectors of two writes, and one bad sector is reason enough to believe nothing.

#include "io/slot_file.hpp"

#include <algorithm>
#include <array>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/align.hpp"
#include "io/checksum.hpp"
#include "io/durable_file.hpp"
#include "io/fd.hpp"
#include "io/slot_format.hpp"

namespace towline {
namespace {

using slot_format::kContentsHeadBytes;
using slot_format::kMagic;
using slot_format::kSectorBytes;
using slot_format::kSectorHeadBytes;
using slot_format::kSectorRoomBytes;
using slot_format::kSlotAlignmentBytes;

constexpr std::size_t kSlots = 2;

struct Slot {
    enum class Kind { kWhole, kTorn, kBad } kind = Kind::kBad;
    std::uint64_t generation = 0;  // of a torn one: the later of its writes
    std::vector<std::byte> contents;
};

// The last state, and which slot the next write goes to.
struct Current {
    Slot slot;
    std::size_t next = 0;
    bool next_torn = false;  // it has sectors of a write that never ended
};

std::size_t sectors_for(std::uint64_t contents_bytes) {
    return align_up<std::uint64_t>(contents_bytes + kContentsHeadBytes, kSectorRoomBytes) /
           kSectorRoomBytes;
}

// --- reading ------------------------------------------------------------------------------------

struct Sector {
    ByteSpan raw;
    std::uint64_t generation() const { return load_le<std::uint64_t>(raw.data() + 8); }
    ByteSpan room() const { return raw.subspan(kSectorHeadBytes); }
    bool good(std::size_t index) const {
        return load_le<std::uint32_t>(raw.data()) == crc32c(raw.subspan(4)) &&
               load_le<std::uint32_t>(raw.data() + 4) == index;
    }
};

Sector sector_of(ByteSpan slot, std::size_t index) {
    return {slot.subspan(index * kSectorBytes, kSectorBytes)};
}

Slot read_slot(ByteSpan raw) {
    const Sector first = sector_of(raw, 0);
    if (!first.good(0)) return {};
    const auto length = load_le<std::uint64_t>(first.room().data() + 8);
    const bool known = load_le<std::uint64_t>(first.room().data()) == kMagic;
    if (!known || length > raw.size()) return {};
    const std::size_t count = sectors_for(length);
    if (count > raw.size() / kSectorBytes) return {};

    Slot slot{.kind = Slot::Kind::kWhole, .generation = first.generation()};
    slot.contents.reserve(count * kSectorRoomBytes);
    for (std::size_t i = 0; i < count; ++i) {
        const Sector sector = sector_of(raw, i);
        if (!sector.good(i)) return {};
        if (sector.generation() != first.generation()) slot.kind = Slot::Kind::kTorn;
        slot.generation = std::max(slot.generation, sector.generation());
        slot.contents.insert(slot.contents.end(), sector.room().begin(), sector.room().end());
    }
    slot.contents.erase(slot.contents.begin(), slot.contents.begin() + kContentsHeadBytes);
    slot.contents.resize(length);
    return slot;
}

std::unexpected<Error> damaged(const std::filesystem::path& path, const char* what) {
    return fail(Code::kCorrupt, path.string() + " is damaged: " + what);
}

Result<Current> choose(const std::filesystem::path& path, std::array<Slot, kSlots> slots) {
    using Kind = Slot::Kind;
    if (slots[0].kind == Kind::kBad || slots[1].kind == Kind::kBad) {
        return damaged(path, "a sector of it does not match its checksum");
    }
    const bool whole[] = {slots[0].kind == Kind::kWhole, slots[1].kind == Kind::kWhole};
    if (!whole[0] && !whole[1]) return damaged(path, "it holds no state");
    std::size_t last = whole[0] ? 0 : 1;
    if (whole[0] && whole[1]) {
        if (slots[0].generation == slots[1].generation) return damaged(path, "it holds two states");
        last = slots[0].generation > slots[1].generation ? 0 : 1;
    }
    Slot& other = slots[1 - last];
    // A write that never ended comes right behind the last that did.
    if (other.kind == Kind::kTorn && other.generation > slots[last].generation + 1) {
        return damaged(path, "its last state is gone");
    }
    return Current{.slot = std::move(slots[last]),
                   .next = 1 - last,
                   .next_torn = other.kind == Slot::Kind::kTorn};
}

Result<Current> parse(const std::filesystem::path& path, ByteSpan raw) {
    const std::size_t slot_bytes = raw.size() / kSlots;
    if (raw.empty() || raw.size() % (kSlots * kSlotAlignmentBytes) != 0) {
        return damaged(path, "it has not the size that it was made with");
    }
    return choose(path, {read_slot(raw.first(slot_bytes)), read_slot(raw.last(slot_bytes))});
}

// --- writing ------------------------------------------------------------------------------------

// `sector_count` or as many as the contents take.
std::vector<std::byte> slot_image(ByteSpan contents, std::uint64_t generation,
                                  std::size_t sector_count = 0) {
    ByteWriter whole;
    whole.put(kMagic).put(std::uint64_t{contents.size()}).put_bytes(contents);
    std::vector<std::byte> plain = whole.take();
    const std::size_t count = std::max(sector_count, sectors_for(contents.size()));
    plain.resize(count * kSectorRoomBytes);
    std::vector<std::byte> image(count * kSectorBytes);
    for (std::size_t i = 0; i < count; ++i) {
        std::byte* at = image.data() + i * kSectorBytes;
        std::ranges::copy(ByteSpan(plain).subspan(i * kSectorRoomBytes, kSectorRoomBytes),
                          at + kSectorHeadBytes);
        store_le(at + 4, static_cast<std::uint32_t>(i));
        store_le(at + 8, generation);
        store_le(at, crc32c(ByteSpan(at + 4, kSectorBytes - 4)));
    }
    return image;
}

// Both slots hold the state, to the last sector: what is overwritten later has its place on the
// disk, needs no change of the filesystem's own, and was a good sector before.
Status make_file(const std::filesystem::path& path, ByteSpan contents, std::uint64_t generation) {
    const std::size_t slot_bytes =
        align_up(sectors_for(contents.size()) * kSectorBytes, kSlotAlignmentBytes);
    std::vector<std::byte> image = slot_image(contents, generation, slot_bytes / kSectorBytes);
    const std::vector<std::byte> second =
        slot_image(contents, generation + 1, slot_bytes / kSectorBytes);
    image.insert(image.end(), second.begin(), second.end());
    return replace_file(path, image);
}

Status write_slot(const std::filesystem::path& path, ByteSpan image, std::size_t offset_bytes,
                  SlotSync sync) {
    const Fd fd(::open(path.c_str(), O_WRONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return fail_errno("cannot open " + path.string());
    while (!image.empty()) {
        const ssize_t written =
            ::pwrite(fd.get(), image.data(), image.size(), static_cast<off_t>(offset_bytes));
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return fail_errno("cannot write " + path.string());
        image = image.subspan(static_cast<std::size_t>(written));
        offset_bytes += static_cast<std::size_t>(written);
    }
    if (sync == SlotSync::kNow && ::fdatasync(fd.get()) != 0) {
        return fail_errno("cannot sync " + path.string());
    }
    return {};
}

std::size_t file_bytes_max(std::size_t contents_bytes_max) {
    const std::size_t slot = sectors_for(contents_bytes_max) * kSectorBytes;
    return kSlots * align_up(slot, kSlotAlignmentBytes);
}

}  // namespace

Result<std::optional<std::vector<std::byte>>> read_slots(const std::filesystem::path& path,
                                                         std::size_t bytes_max) {
    const auto raw = TRY(read_file(path, file_bytes_max(bytes_max)));
    if (!raw) return std::optional<std::vector<std::byte>>();
    Current current = TRY(parse(path, *raw));
    return std::optional(std::move(current.slot.contents));
}

Status write_slots(const std::filesystem::path& path, ByteSpan contents, SlotSync sync) {
    const auto raw = TRY(read_file(path, SIZE_MAX));
    if (!raw) return make_file(path, contents, 1);
    const auto current = parse(path, *raw);
    // What cannot be read is not gone on with: the new state takes the place of all of it.
    if (!current) return make_file(path, contents, 1);
    // Not a second write behind one that may still be on its way.
    if (sync == SlotSync::kLater && std::ranges::equal(current->slot.contents, contents)) return {};
    const std::uint64_t generation = current->slot.generation + 1;
    const std::vector<std::byte> image = slot_image(contents, generation);
    const std::size_t slot_bytes = raw->size() / kSlots;
    // Sectors of a write that was torn are of this one's generation: torn as well, it would look
    // whole with the two mixed.
    if (image.size() > slot_bytes || current->next_torn)
        return make_file(path, contents, generation);
    return write_slot(path, image, current->next * slot_bytes, sync);
}

}  // namespace towline
