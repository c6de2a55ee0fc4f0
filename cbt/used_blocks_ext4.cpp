// SPDX-License-Identifier: Apache-2.0
// The block bitmaps of ext2, ext3 and ext4, by e2fsprogs' own library: it knows the layouts (64bit,
// flex_bg, meta_bg, bigalloc, groups whose bitmap was never written) and verifies the bitmaps'
// checksums. A feature that it does not know fails its open.
//
// It reads by a descriptor's name in /proc, so that it is this very volume, and directly, never
// from the page cache. What lies before the first block and behind the last one is not the
// filesystem's, and counts as used.

#include <ext2fs/ext2fs.h>
#include <memory>

#include "cbt/used_blocks.hpp"

namespace towline {
namespace {

constexpr std::uint64_t kSuperblockAt = 1024;
constexpr std::size_t kMagicAt = 56;
constexpr const char* kName = "ext4";

struct CloseFilesystem {
    void operator()(ext2_filsys filesystem) const { ext2fs_free(filesystem); }
};
using Filesystem = std::unique_ptr<std::remove_pointer_t<ext2_filsys>, CloseFilesystem>;

bool is_ext(const Volume& volume) {
    std::vector<std::byte> superblock(1024);
    if (volume.size_bytes() < kSuperblockAt + superblock.size()) return false;
    if (!volume.read_at(kSuperblockAt, superblock)) return false;
    return superblock[kMagicAt] == std::byte{0x53} && superblock[kMagicAt + 1] == std::byte{0xEF};
}

std::string why_not(ext2_filsys filesystem, const Volume& volume) {
    const ext2_super_block& super = *filesystem->super;
    if (ext2fs_has_feature_journal_needs_recovery(filesystem->super))
        return "its journal has to be replayed first";
    if ((super.s_state & EXT2_VALID_FS) == 0 || (super.s_state & EXT2_ERROR_FS) != 0)
        return "it was not unmounted cleanly, or has errors";
    if (ext2fs_has_feature_journal_dev(filesystem->super)) return "it is a journal";
    const std::uint64_t blocks = ext2fs_blocks_count(filesystem->super);
    if (blocks > volume.size_bytes() / filesystem->blocksize) return "it is larger than its volume";
    for (dgrp_t group = 0; group < filesystem->group_desc_count; ++group)
        if (ext2fs_group_desc_csum_verify(filesystem, group) == 0)
            return "the checksum of a group's description is wrong";
    return {};
}

// Runs of used blocks of one group, as the bitmap has them; false when their number is not what the
// group's description says.
bool add_group(ext2_filsys filesystem, dgrp_t group, std::vector<Extent>& extents) {
    const std::uint64_t block_bytes = filesystem->blocksize;
    const blk64_t first = ext2fs_group_first_block2(filesystem, group);
    const blk64_t last = ext2fs_group_last_block2(filesystem, group);
    const std::uint64_t clusters_free = ext2fs_bg_free_blocks_count(filesystem, group);
    std::uint64_t free = 0;
    for (blk64_t at = first; at <= last;) {
        blk64_t zero = 0;
        if (ext2fs_find_first_zero_block_bitmap2(filesystem->block_map, at, last, &zero) != 0)
            zero = last + 1;
        if (zero > at) extents.push_back({at * block_bytes, (zero - at) * block_bytes});
        if (zero > last) break;
        if (ext2fs_find_first_set_block_bitmap2(filesystem->block_map, zero, last, &at) != 0)
            at = last + 1;
        free += at - zero;
    }
    const auto ratio = static_cast<std::uint64_t>(EXT2FS_CLUSTER_RATIO(filesystem));
    return (free + ratio - 1) / ratio == clusters_free;
}

}  // namespace

std::optional<UsedBlocks> used_blocks_ext4(const Volume& volume) {
    if (!is_ext(volume)) return std::nullopt;
    const std::string path = "/proc/self/fd/" + std::to_string(volume.fd());
    const int direct = volume.direct() ? EXT2_FLAG_DIRECT_IO : 0;
    ext2_filsys opened = nullptr;
    if (ext2fs_open(path.c_str(), EXT2_FLAG_64BITS | direct, 0, 0, unix_io_manager, &opened) != 0)
        return UsedBlocks::all(volume, kName, "its superblock is damaged or has unknown features");
    const Filesystem filesystem(opened);
    if (std::string doubt = why_not(opened, volume); !doubt.empty())
        return UsedBlocks::all(volume, kName, std::move(doubt));
    if (ext2fs_read_block_bitmap(opened) != 0)
        return UsedBlocks::all(volume, kName, "a block bitmap cannot be read or is damaged");

    UsedBlocks used{.filesystem = kName, .extents = {}, .doubt = {}};
    const std::uint64_t before =
        opened->super->s_first_data_block * std::uint64_t{opened->blocksize};
    if (before > 0) used.extents.push_back({0, before});
    for (dgrp_t group = 0; group < opened->group_desc_count; ++group)
        if (!add_group(opened, group, used.extents))
            return UsedBlocks::all(volume, kName, "a bitmap and its count of free blocks differ");
    const std::uint64_t end = ext2fs_blocks_count(opened->super) * std::uint64_t{opened->blocksize};
    if (end < volume.size_bytes()) used.extents.push_back({end, volume.size_bytes() - end});
    return used;
}

}  // namespace towline
