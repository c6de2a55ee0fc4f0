// SPDX-License-Identifier: Apache-2.0
// Which filesystem, and what follows from its maps for a copy. Each filesystem has a file of its
// own; what none of them knows is used as a whole.

#include "cbt/used_blocks.hpp"

#include <algorithm>

namespace towline {

UsedBlocks UsedBlocks::all(const Volume& volume, std::string filesystem, std::string doubt) {
    return {.filesystem = std::move(filesystem),
            .extents = {{0, volume.size_bytes()}},
            .doubt = std::move(doubt)};
}

UsedBlocks used_blocks(const Volume& volume) {
    for (const auto reader : {used_blocks_ext4, used_blocks_xfs, used_blocks_btrfs})
        if (auto used = reader(volume); used) {
            used->extents = normalized(std::move(used->extents));
            return std::move(*used);
        }
    return UsedBlocks::all(volume, "", "it holds no filesystem whose free blocks are known here");
}

std::vector<Extent> intersection(const std::vector<Extent>& data, const std::vector<Extent>& used) {
    std::vector<Extent> both;
    auto one = data.begin();
    auto other = used.begin();
    while (one != data.end() && other != used.end()) {
        const std::uint64_t begin = std::max(one->offset_bytes, other->offset_bytes);
        const std::uint64_t end = std::min(one->end_bytes(), other->end_bytes());
        if (begin < end) both.push_back({begin, end - begin});
        ++(one->end_bytes() < other->end_bytes() ? one : other);
    }
    return both;
}

}  // namespace towline
