// SPDX-License-Identifier: Apache-2.0
// What the filesystem on a volume has in use, a line "OFFSET LENGTH" an extent; before them a line
// of the filesystem's name, and the doubt if there is one.
//
//     used_probe VOLUME

#include <iostream>

#include "cbt/used_blocks.hpp"

int main(int, char** words) {
    const auto volume = towline::Volume::open(words[1], towline::Access::kRead);
    if (!volume) {
        std::cerr << volume.error().text() << "\n";
        return 1;
    }
    const towline::UsedBlocks used = towline::used_blocks(*volume);
    std::cout << used.filesystem << " " << used.doubt << "\n";
    for (const towline::Extent& extent : used.extents)
        std::cout << extent.offset_bytes << " " << extent.length_bytes << "\n";
    return 0;
}
