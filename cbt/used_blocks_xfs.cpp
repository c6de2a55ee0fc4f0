// SPDX-License-Identifier: Apache-2.0
// The free space of XFS: the tree by block number (bnobt) of each allocation group, of version 5
// filesystems, whose every block carries its checksum, place and owner.
//
// On disk it is right only when the log has been written back: a clean unmount says so by a record
// of its own at the log's end, and of a frozen one the log holds the superblock alone
// (used_blocks_xfs_log.hpp).

#include <algorithm>

#include "cbt/used_blocks.hpp"
#include "cbt/used_blocks_xfs_log.hpp"
#include "io/bytes.hpp"
#include "io/checksum.hpp"

namespace towline {
namespace {

constexpr const char* kName = "xfs";
constexpr std::uint64_t kSector = 512;
constexpr std::uint32_t kSuperMagic = 0x58465342;   // "XFSB"
constexpr std::uint32_t kAgfMagic = 0x58414746;     // "XAGF"
constexpr std::uint32_t kTreeMagic = 0x41423342;    // "AB3B"
constexpr std::uint32_t kRecordMagic = 0xFEEDBABE;  // of the log
constexpr std::uint32_t kRecordBytes = 32 << 10;    // what one header of a log record covers
constexpr std::uint64_t kRecordSectorsMax = 1024;
constexpr std::uint8_t kUnmount = 0x20;
// ftype, sparse inodes, meta uuid, big timestamps, large extent counts, exchange, parent pointers.
// Not among them: needs repair (0x10).
constexpr std::uint32_t kIncompatibleKnown = 0x1 | 0x2 | 0x4 | 0x8 | 0x20 | 0x40 | 0x80;
constexpr std::uint32_t kTreeHeaderBytes = 56;
constexpr std::uint32_t kLevelsMax = 9;
constexpr std::uint32_t kNull = 0xFFFFFFFF;

using Bytes = std::vector<std::byte>;

template <typename T>
T big(const Bytes& bytes, std::size_t at) {
    T value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i)
        value = static_cast<T>(value << 8 | std::to_integer<T>(bytes.at(at + i)));
    return value;
}

std::uint32_t be32(const Bytes& bytes, std::size_t at) {
    return big<std::uint32_t>(bytes, at);
}
std::uint64_t be64(const Bytes& bytes, std::size_t at) {
    return big<std::uint64_t>(bytes, at);
}

// The checksum of a metadata block is over itself with zeros in its own place, in little endian.
bool checksum_fits(Bytes block, std::size_t at) {
    std::uint32_t stored = 0;
    for (std::size_t i = 0; i < 4; ++i) {
        stored |= std::to_integer<std::uint32_t>(block.at(at + i)) << (8 * i);
        block.at(at + i) = std::byte{0};
    }
    return crc32c(block) == stored;
}

// Reads one filesystem; the first doubt ends it.
class Reader {
  public:
    explicit Reader(const Volume& volume) : volume_(volume) {}

    bool is_xfs() {
        super_ = read(0, 512);
        return super_.size() == 512 && be32(super_, 0) == kSuperMagic;
    }

    UsedBlocks used() {
        std::string doubt = look_at_super();
        if (doubt.empty()) doubt = look_at_log();
        std::vector<Extent> free;
        for (std::uint32_t group = 0; doubt.empty() && group < groups_; ++group)
            doubt = walk_group(group, free);
        if (!doubt.empty()) return UsedBlocks::all(volume_, kName, std::move(doubt));
        return {.filesystem = kName, .extents = complement(std::move(free)), .doubt = {}};
    }

  private:
    Bytes read(std::uint64_t at, std::size_t bytes) {
        Bytes into(bytes);
        if (at + bytes > volume_.size_bytes() || !volume_.read_at(at, into)) return {};
        return into;
    }

    std::string look_at_super() {
        if ((big<std::uint16_t>(super_, 100) & 0xF) != 5) return "it is older than version 5";
        block_bytes_ = be32(super_, 4);
        sector_bytes_ = big<std::uint16_t>(super_, 102);
        group_blocks_ = be32(super_, 84);
        groups_ = be32(super_, 88);
        blocks_ = be64(super_, 8);
        if (sector_bytes_ < kSector || sector_bytes_ > 32768 || block_bytes_ < 1024 ||
            block_bytes_ > 65536 || group_blocks_ == 0 || groups_ == 0)
            return "its superblock is damaged";
        const Bytes sector = read(0, sector_bytes_);
        if (sector.empty() || !checksum_fits(sector, 224)) return "its superblock is damaged";
        const std::uint32_t unknown = be32(super_, 216) & ~kIncompatibleKnown;
        if (unknown != 0) return "it has features that are not known here";
        if (be64(super_, 16) != 0) return "it has a realtime part";
        if (blocks_ > volume_.size_bytes() / block_bytes_) return "it is larger than its volume";
        if (blocks_ > std::uint64_t{group_blocks_} * groups_ ||
            blocks_ <= std::uint64_t{group_blocks_} * (groups_ - 1))
            return "its superblock is damaged";
        return {};
    }

    std::uint64_t place_of(std::uint32_t group, std::uint32_t block) const {
        return (std::uint64_t{group} * group_blocks_ + block) * block_bytes_;
    }

    // The first word of each sector of the log is the cycle in which it was last written.
    std::optional<std::uint32_t> cycle_of(std::uint64_t sector) {
        const Bytes bytes = read(log_at_ + sector * kSector, kSector);
        if (bytes.empty()) return std::nullopt;
        return be32(bytes, 0) == kRecordMagic ? be32(bytes, 4) : be32(bytes, 0);
    }

    // Behind the head, sectors are of an earlier cycle than the first one, or of none.
    std::optional<std::uint64_t> head_of(std::uint64_t sectors) {
        const auto first = cycle_of(0);
        if (!first) return std::nullopt;
        std::uint64_t low = 0;
        std::uint64_t high = sectors;
        while (high - low > 1) {
            const std::uint64_t middle = low + (high - low) / 2;
            const auto cycle = cycle_of(middle);
            if (!cycle) return std::nullopt;
            (*cycle == *first ? low : high) = middle;
        }
        return high;
    }

    std::string look_at_log() {
        static const std::string kDirty = "its log has to be replayed first";
        const std::uint64_t start = be64(super_, 48);
        if (start == 0) return "its log is on another device";
        const unsigned group_bits = std::to_integer<unsigned>(super_.at(124));
        if (group_bits > 32) return "its superblock is damaged";
        log_at_ =
            place_of(static_cast<std::uint32_t>(start >> group_bits),
                     static_cast<std::uint32_t>(start & ((std::uint64_t{1} << group_bits) - 1)));
        const std::uint64_t sectors = std::uint64_t{be32(super_, 96)} * block_bytes_ / kSector;
        const auto head = head_of(sectors);
        if (!head) return "its log cannot be read";
        // The last record: backwards from the head, as far as one is long that a stripe pads.
        const std::uint64_t window = std::min(*head, kRecordSectorsMax);
        const Bytes tail = read(log_at_ + (*head - window) * kSector, window * kSector);
        for (std::uint64_t back = 2; !tail.empty() && back <= window; ++back) {
            const std::size_t at = (window - back) * kSector;
            if (be32(tail, at) != kRecordMagic) continue;
            return is_unmount(tail, at) || is_covered(tail, at, *head) ? "" : kDirty;
        }
        return kDirty;
    }

    // Whether what lies between the tail, which the last record tells, and the head is in `bytes`,
    // and changes nothing but the superblock. A log that began again from its start in between is
    // none that was just covered.
    static bool is_covered(const Bytes& bytes, std::size_t last, std::uint64_t head) {
        const std::uint32_t cycle = be32(bytes, last + 4);
        const std::uint64_t tail = be64(bytes, last + 24);
        const std::uint64_t sector = tail & 0xFFFFFFFF;
        if (tail >> 32 != cycle || sector >= head || (head - sector) * kSector > bytes.size())
            return false;
        return xfs_log_holds_superblock_only(ByteSpan(bytes).last((head - sector) * kSector), cycle,
                                             sector);
    }

    // Whether the record from `at` to the end is whole, and says that the filesystem was unmounted.
    static bool is_unmount(const Bytes& bytes, std::size_t at) {
        const std::uint32_t size = be32(bytes, at + 320);
        const std::uint64_t headers =
            size > kRecordBytes ? (size + kRecordBytes - 1) / kRecordBytes : 1;
        const std::uint64_t body = (be32(bytes, at + 12) + kSector - 1) / kSector;
        const std::size_t operation = at + headers * kSector;
        if (at + (headers + body) * kSector != bytes.size() || be32(bytes, at + 40) != 1 ||
            body == 0)
            return false;
        return (std::to_integer<std::uint8_t>(bytes.at(operation + 9)) & kUnmount) != 0;
    }

    std::string walk_group(std::uint32_t group, std::vector<Extent>& free) {
        static const std::string kDamaged = "the free space of a group is damaged";
        const Bytes agf = read(place_of(group, 0) + sector_bytes_, sector_bytes_);
        if (agf.empty() || be32(agf, 0) != kAgfMagic || be32(agf, 8) != group ||
            !checksum_fits(agf, 216))
            return kDamaged;
        const std::uint32_t length = be32(agf, 12);
        const std::uint32_t wanted = be32(agf, 52);
        std::uint32_t level = be32(agf, 28);
        if (level == 0 || level > kLevelsMax || length > group_blocks_) return kDamaged;

        std::uint32_t block = be32(agf, 16);
        Bytes node;
        while (true) {  // down on the left
            node = tree_block(group, block, --level);
            if (node.empty()) return kDamaged;
            if (level == 0) break;
            // Pointers lie behind the room for as many keys as fit.
            const std::size_t slots = (block_bytes_ - kTreeHeaderBytes) / 12;
            block = be32(node, kTreeHeaderBytes + slots * 8);
        }
        std::uint64_t total = 0;
        std::uint64_t end = 0;
        for (std::uint32_t visited = 0;; ++visited) {  // along the leaves
            const std::uint32_t records = big<std::uint16_t>(node, 6);
            if (kTreeHeaderBytes + std::size_t{records} * 8 > node.size()) return kDamaged;
            for (std::size_t i = 0; i < records; ++i) {
                const std::uint64_t first = be32(node, kTreeHeaderBytes + i * 8);
                const std::uint64_t count = be32(node, kTreeHeaderBytes + i * 8 + 4);
                if (count == 0 || first < end || first + count > length) return kDamaged;
                end = first + count;
                total += count;
                free.push_back(
                    {place_of(group, static_cast<std::uint32_t>(first)), count * block_bytes_});
            }
            const std::uint32_t next = be32(node, 12);
            if (next == kNull) break;
            node = visited < length ? tree_block(group, next, 0) : Bytes();
            if (node.empty()) return kDamaged;
        }
        return total == wanted ? "" : "a group's count of free blocks does not fit its tree";
    }

    Bytes tree_block(std::uint32_t group, std::uint32_t block, std::uint32_t level) {
        Bytes node = read(place_of(group, block), block_bytes_);
        const bool good = !node.empty() && be32(node, 0) == kTreeMagic &&
                          big<std::uint16_t>(node, 4) == level && be32(node, 48) == group &&
                          be64(node, 16) * kSector == place_of(group, block) &&
                          checksum_fits(node, 52);
        return good ? node : Bytes();
    }

    std::vector<Extent> complement(std::vector<Extent> free) const {
        std::vector<Extent> used;
        std::uint64_t at = 0;
        for (const Extent& extent : normalized(std::move(free))) {
            if (extent.offset_bytes > at) used.push_back({at, extent.offset_bytes - at});
            at = extent.end_bytes();
        }
        if (at < volume_.size_bytes()) used.push_back({at, volume_.size_bytes() - at});
        return used;
    }

    const Volume& volume_;
    Bytes super_;
    std::uint32_t block_bytes_ = 0;
    std::uint32_t sector_bytes_ = 0;
    std::uint32_t group_blocks_ = 0;
    std::uint32_t groups_ = 0;
    std::uint64_t blocks_ = 0;
    std::uint64_t log_at_ = 0;
};

}  // namespace

std::optional<UsedBlocks> used_blocks_xfs(const Volume& volume) {
    Reader reader(volume);
    if (!reader.is_xfs()) return std::nullopt;
    return reader.used();
}

}  // namespace towline
