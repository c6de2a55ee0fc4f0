// SPDX-License-Identifier: Apache-2.0
// Who copies a point is told where it is zeros, so that he need not ask for them. It costs indexes
// alone, and no more of them than the range has.

#include "userspace/vault/point_extents.hpp"

#include <algorithm>

namespace towline {

namespace {

void add(std::vector<PointExtent>& list, std::uint64_t from, std::uint64_t end, bool zeros) {
    if (!list.empty() && list.back().zeros == zeros) {
        list.back().range.length_bytes += end - from;
    } else {
        list.push_back({{from, end - from}, zeros});
    }
}

Status add_point(std::vector<PointExtent>& list, VolumeReader& volume, std::uint64_t from,
                 std::uint64_t end) {
    const std::uint64_t block_bytes = volume.block_bytes();
    while (from < end) {
        const std::uint64_t first = from / block_bytes;
        const std::uint64_t count = (end - 1) / block_bytes - first + 1;
        for (const VolumeReader::Located& run : TRY(volume.locate(first, count))) {
            const std::uint64_t stop = std::min(end, (run.first + run.count) * block_bytes);
            add(list, from, stop, run.zeros);
            from = stop;
        }
    }
    return {};
}

}  // namespace

Result<std::vector<PointExtent>> extents_of(const PointFolder::File& file, Extent range) {
    VolumeReader& volume = file.volume->volume();
    std::vector<PointExtent> list;
    const std::uint64_t end = std::min(range.end_bytes(), volume.size_bytes());
    for (std::uint64_t at = range.offset_bytes; at < end;) {
        Overlay::Stretch some{end, Overlay::Kind::kBelow};
        if (file.overlay) some = TRY(file.overlay->look(at, end));
        if (some.kind == Overlay::Kind::kBelow) {
            TRY_STATUS(add_point(list, volume, at, some.end_bytes));
        } else {
            add(list, at, some.end_bytes, some.kind == Overlay::Kind::kZeros);
        }
        at = some.end_bytes;
    }
    return list;
}

}  // namespace towline
