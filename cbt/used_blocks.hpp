// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cbt/extent.hpp"
#include "io/volume.hpp"

namespace towline {

// What of a volume its filesystem has in use. Everything outside of `extents` is free by the word
// of the filesystem's own maps: it may be taken for zeros.
struct UsedBlocks {
    std::string filesystem;       // "ext4", "xfs", "btrfs"; empty: none that is known
    std::vector<Extent> extents;  // sorted, joined
    // Why all is held to be used, as a sentence for people; empty: the maps were believed.
    std::string doubt;

    static UsedBlocks all(const Volume& volume, std::string filesystem, std::string doubt);
    std::uint64_t bytes() const { return total_bytes(extents); }
};

// Reads the maps of the filesystem on a volume that nobody writes to: a snapshot, a frozen or an
// unmounted one; the caller sees to that. Any doubt (a journal to be replayed, a feature that is
// not known, a checksum or count that does not fit) is "all used", never an error.
UsedBlocks used_blocks(const Volume& volume);

// `data` without what is free.
std::vector<Extent> intersection(const std::vector<Extent>& data, const std::vector<Extent>& used);

// One file a filesystem. Nothing: it is another one.
std::optional<UsedBlocks> used_blocks_ext4(const Volume& volume);
std::optional<UsedBlocks> used_blocks_xfs(const Volume& volume);
std::optional<UsedBlocks> used_blocks_btrfs(const Volume& volume);

}  // namespace towline
