// SPDX-License-Identifier: Apache-2.0
// Rule 6 as bookkeeping: what is believed to be durable is never more than what is. So it grows
// after the log was written, and shrinks before. Its owner serialises all of it.

#include "cbt/hot_regions.hpp"

namespace towline {

namespace {

BlockRun run_of(const ChangeMap& map, Extent extent) {
    const std::uint64_t first = extent.offset_bytes / map.block_bytes();
    const std::uint64_t last = (extent.end_bytes() - 1) / map.block_bytes();
    return {first, last - first + 1};
}

void intersect(ChangeMap& map, const ChangeMap& keep) {
    ChangeMap dropped = map;
    dropped.subtract(keep);
    map.subtract(dropped);
}

}  // namespace

HotRegions::HotRegions(std::uint64_t volume_bytes, std::uint32_t region_bytes)
    : wanted_(volume_bytes, region_bytes), durable_(volume_bytes, region_bytes) {}

bool HotRegions::durable(Extent extent) const {
    return extent.length_bytes == 0 || durable_.all_set(run_of(durable_, extent));
}

void HotRegions::cool(const ChangeMap& keep) {
    wanted_ = keep;
    intersect(durable_, keep);
}

void HotRegions::resize(std::uint64_t volume_bytes) {
    wanted_ = wanted_.resampled(volume_bytes, region_bytes());
    durable_ = durable_.resampled(volume_bytes, region_bytes());
}

ChangeMap regions_of(const ChangeMap& marks, std::uint32_t region_bytes) {
    ChangeMap regions(marks.volume_bytes(), region_bytes);
    for (auto run = marks.next_run(0); run; run = marks.next_run(run->end()))
        regions.mark(marks.extent_of(*run));
    return regions;
}

}  // namespace towline
