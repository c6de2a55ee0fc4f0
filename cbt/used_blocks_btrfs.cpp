// SPDX-License-Identifier: Apache-2.0
// The extent tree of btrfs: every range of its logical addresses that anything refers to, and the
// chunks that say where on the device that is. Copy on write makes it right at any moment for the
// superblock that is on disk, but for what an fsync left in a log tree, which counts as a doubt.
//
// Only filesystems of one device with crc32c are read; of others all is held to be used. The first
// MiB and the superblock's copies belong to no chunk, and count as used.

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "cbt/used_blocks.hpp"
#include "io/bytes.hpp"
#include "io/checksum.hpp"

namespace towline {
namespace {

constexpr const char* kName = "btrfs";
constexpr std::uint64_t kSuperAt = 64 << 10;
constexpr std::size_t kSuperBytes = 4096;
constexpr std::uint64_t kReserved = 1 << 20;
constexpr std::size_t kChecksumBytes = 32;
constexpr std::size_t kHeaderBytes = 101;
constexpr std::size_t kItemBytes = 25;
constexpr std::size_t kPointerBytes = 33;
constexpr std::size_t kKeyBytes = 17;
constexpr std::size_t kStripeBytes = 32;
constexpr std::size_t kChunkBytes = 48;  // before its stripes
constexpr unsigned kLevelsMax = 8;
constexpr std::uint64_t kExtentTree = 2;
constexpr std::uint8_t kRootItem = 132;
constexpr std::uint8_t kExtentItem = 168;
constexpr std::uint8_t kMetadataItem = 169;
constexpr std::uint8_t kChunkItem = 228;
constexpr std::uint64_t kDup = 1 << 5;
constexpr std::uint64_t kProfiles = 0x7F8;  // of blocks, in a chunk's type: raids and dup
// mixed backref, default subvolume, mixed groups, lzo, zstd, big metadata, extended iref, skinny
// metadata, no holes, metadata uuid. Not raid56 (0x80), zoned (0x1000), extent tree 2 (0x2000).
constexpr std::uint64_t kIncompatibleKnown = 0x77F | 0x10000;

using Bytes = std::vector<std::byte>;

template <typename T>
T little(const Bytes& bytes, std::size_t at) {
    T value = 0;
    for (std::size_t i = sizeof(T); i-- > 0;)
        value = static_cast<T>(value << 8 | std::to_integer<T>(bytes.at(at + i)));
    return value;
}

std::uint64_t le64(const Bytes& bytes, std::size_t at) {
    return little<std::uint64_t>(bytes, at);
}
std::uint32_t le32(const Bytes& bytes, std::size_t at) {
    return little<std::uint32_t>(bytes, at);
}

bool checksum_fits(const Bytes& block) {
    return crc32c(ByteSpan(block).subspan(kChecksumBytes)) == le32(block, 0);
}

struct Key {
    std::uint64_t object = 0;
    std::uint8_t type = 0;
    std::uint64_t offset = 0;
};

Key key_at(const Bytes& bytes, std::size_t at) {
    return {le64(bytes, at), std::to_integer<std::uint8_t>(bytes.at(at + 8)), le64(bytes, at + 9)};
}

struct Chunk {
    std::uint64_t length = 0;
    std::vector<std::uint64_t> copies;  // places on the device
};

class Reader {
  public:
    explicit Reader(const Volume& volume) : volume_(volume) {}

    bool is_btrfs() {
        super_ = read(kSuperAt, kSuperBytes);
        static constexpr std::string_view kMagic = "_BHRfS_M";
        return !super_.empty() &&
               std::equal(kMagic.begin(), kMagic.end(), super_.begin() + 64,
                          [](char one, std::byte other) { return std::byte(one) == other; });
    }

    UsedBlocks used() {
        std::string doubt = look_at_super();
        if (doubt.empty()) doubt = walk();
        if (!doubt.empty()) return UsedBlocks::all(volume_, kName, std::move(doubt));
        used_.push_back({0, kReserved});
        for (const std::uint64_t copy : {std::uint64_t{64} << 20, std::uint64_t{256} << 30})
            if (copy < volume_.size_bytes())
                used_.push_back(
                    {copy, std::min<std::uint64_t>(64 << 10, volume_.size_bytes() - copy)});
        const std::uint64_t end = le64(super_, 112);
        if (end < volume_.size_bytes()) used_.push_back({end, volume_.size_bytes() - end});
        return {.filesystem = kName, .extents = normalized(std::move(used_)), .doubt = {}};
    }

  private:
    // An item of a leaf: its key, and where its data lies in the block.
    using Item = std::function<bool(const Key&, const Bytes&, std::size_t at, std::size_t bytes)>;

    Bytes read(std::uint64_t at, std::size_t bytes) {
        Bytes into(bytes);
        if (at + bytes > volume_.size_bytes() || !volume_.read_at(at, into)) return {};
        return into;
    }

    std::string look_at_super() {
        if (little<std::uint16_t>(super_, 196) != 0) return "its checksums are not crc32c";
        if (!checksum_fits(super_)) return "its superblock is damaged";
        if ((le64(super_, 188) & ~kIncompatibleKnown) != 0)
            return "it has features that are not known here";
        if (le64(super_, 96) != 0) return "its log tree has to be replayed first";
        if (le64(super_, 136) != 1) return "it is on several devices";
        node_bytes_ = le32(super_, 148);
        if (node_bytes_ < 4096 || node_bytes_ > 65536) return "its superblock is damaged";
        if (le64(super_, 112) > volume_.size_bytes()) return "it is larger than its volume";
        return {};
    }

    std::string walk() {
        static const std::string kDamaged = "its trees cannot be read, or are damaged";
        if (!take_first_chunks()) return kDamaged;
        const auto take_chunk = [this](const Key& key, const Bytes& node, std::size_t at,
                                       std::size_t bytes) {
            return key.type != kChunkItem || add_chunk(key.offset, node, at, bytes);
        };
        if (!each_item(le64(super_, 88), kLevelsMax, take_chunk)) return kDamaged;
        std::uint64_t extent_root = 0;
        const auto find_root = [&](const Key& key, const Bytes& node, std::size_t at,
                                   std::size_t bytes) {
            if (key.object != kExtentTree || key.type != kRootItem) return true;
            if (bytes < 184) return false;
            extent_root = le64(node, at + 176);  // behind the inode and two numbers
            return true;
        };
        if (!each_item(le64(super_, 80), kLevelsMax, find_root) || extent_root == 0)
            return kDamaged;
        std::uint64_t total = 0;
        const auto take_extent = [&](const Key& key, const Bytes&, std::size_t, std::size_t) {
            if (key.type != kExtentItem && key.type != kMetadataItem) return true;
            const std::uint64_t length = key.type == kExtentItem ? key.offset : node_bytes_;
            total += length;
            return add_used(key.object, length);
        };
        if (!each_item(extent_root, kLevelsMax, take_extent)) return kDamaged;
        // The superblock counts the same bytes, but for the chunk tree's, which are in it too.
        return total == le64(super_, 120) ? "" : "its count of used bytes does not fit its trees";
    }

    // What leads to the chunk tree is in the superblock itself.
    bool take_first_chunks() {
        const std::size_t end = 811 + std::size_t{le32(super_, 160)};
        if (end > 811 + 2048) return false;
        for (std::size_t at = 811; at < end;) {
            if (at + kKeyBytes + kChunkBytes > end) return false;
            const Key key = key_at(super_, at);
            const std::size_t stripes = little<std::uint16_t>(super_, at + kKeyBytes + 44);
            const std::size_t bytes = kChunkBytes + stripes * kStripeBytes;
            if (key.type != kChunkItem || !add_chunk(key.offset, super_, at + kKeyBytes, bytes))
                return false;
            at += kKeyBytes + bytes;
        }
        return !chunks_.empty();
    }

    bool add_chunk(std::uint64_t logical, const Bytes& bytes, std::size_t at, std::size_t length) {
        if (length < kChunkBytes || at + length > bytes.size()) return false;
        const std::uint64_t profile = le64(bytes, at + 24) & kProfiles;
        const std::size_t stripes = little<std::uint16_t>(bytes, at + 44);
        if (profile != 0 && profile != kDup) return false;
        if (stripes != (profile == kDup ? 2U : 1U) || length < kChunkBytes + stripes * kStripeBytes)
            return false;
        Chunk chunk{.length = le64(bytes, at), .copies = {}};
        for (std::size_t i = 0; i < stripes; ++i) {
            const std::uint64_t place = le64(bytes, at + kChunkBytes + i * kStripeBytes + 8);
            if (place > volume_.size_bytes() || chunk.length > volume_.size_bytes() - place)
                return false;
            chunk.copies.push_back(place);
        }
        chunks_[logical] = std::move(chunk);
        return true;
    }

    const Chunk* chunk_of(std::uint64_t logical, std::uint64_t length, std::uint64_t& begin) const {
        auto found = chunks_.upper_bound(logical);
        if (found == chunks_.begin()) return nullptr;
        --found;
        begin = found->first;
        const std::uint64_t inside = logical - begin;
        if (inside >= found->second.length || length > found->second.length - inside)
            return nullptr;
        return &found->second;
    }

    bool add_used(std::uint64_t logical, std::uint64_t length) {
        std::uint64_t begin = 0;
        const Chunk* chunk = chunk_of(logical, length, begin);
        if (chunk == nullptr || length == 0) return false;
        for (const std::uint64_t copy : chunk->copies) {
            const Extent extent{copy + (logical - begin), length};
            // Neighbours come in order: joined here, they take little room.
            const auto last = std::find_if(used_.rbegin(), used_.rend(), [&](const Extent& each) {
                return each.end_bytes() == extent.offset_bytes;
            });
            const bool near = last != used_.rend() && last - used_.rbegin() < 2;
            if (near)
                last->length_bytes += length;
            else
                used_.push_back(extent);
        }
        return true;
    }

    Bytes node_of(std::uint64_t logical) {
        std::uint64_t begin = 0;
        const Chunk* chunk = chunk_of(logical, node_bytes_, begin);
        if (chunk == nullptr) return {};
        for (const std::uint64_t copy : chunk->copies) {
            Bytes node = read(copy + (logical - begin), node_bytes_);
            if (!node.empty() && le64(node, 48) == logical && checksum_fits(node)) return node;
        }
        return {};
    }

    bool each_item(std::uint64_t logical, unsigned below, const Item& item) {
        const Bytes node = node_of(logical);
        if (node.empty()) return false;
        const std::size_t count = le32(node, 96);
        const auto level = std::to_integer<unsigned>(node.at(100));
        if (level >= below) return false;
        if (kHeaderBytes + count * (level == 0 ? kItemBytes : kPointerBytes) > node.size())
            return false;
        for (std::size_t i = 0; i < count; ++i) {
            if (level != 0) {
                const std::size_t at = kHeaderBytes + i * kPointerBytes + kKeyBytes;
                if (!each_item(le64(node, at), level, item)) return false;
                continue;
            }
            const std::size_t at = kHeaderBytes + i * kItemBytes;
            const std::size_t data = kHeaderBytes + std::size_t{le32(node, at + kKeyBytes)};
            const std::size_t bytes = le32(node, at + kKeyBytes + 4);
            if (data + bytes > node.size() || !item(key_at(node, at), node, data, bytes))
                return false;
        }
        return true;
    }

    const Volume& volume_;
    Bytes super_;
    std::uint32_t node_bytes_ = 0;
    std::map<std::uint64_t, Chunk> chunks_;
    std::vector<Extent> used_;
};

}  // namespace

std::optional<UsedBlocks> used_blocks_btrfs(const Volume& volume) {
    Reader reader(volume);
    if (!reader.is_btrfs()) return std::nullopt;
    return reader.used();
}

}  // namespace towline
