// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cbt/change_map.hpp"

namespace towline {

// Which regions of a volume (64 MiB by default) the intent log says may have been written. A write
// waits until its regions are durable; so what a crash leaves is a superset of what was written.
class HotRegions {
  public:
    HotRegions(std::uint64_t volume_bytes, std::uint32_t region_bytes);

    std::uint32_t region_bytes() const { return wanted_.block_bytes(); }
    // The log says so already: a write may go on.
    bool durable(Extent extent) const;
    void want(Extent extent) { wanted_.mark(extent); }

    // What the next write of the log is to hold; written() says that it is durable.
    const ChangeMap& wanted() const { return wanted_; }
    void written(const ChangeMap& regions) { durable_ = regions; }
    const ChangeMap& durable() const { return durable_; }

    // Only `keep` is to be hot. At once a write to any other region waits for the log again, so
    // that the log may be written without it.
    void cool(const ChangeMap& keep);
    void resize(std::uint64_t volume_bytes);

  private:
    ChangeMap wanted_;   // durable_, and what writes that wait for the log will touch
    ChangeMap durable_;  // on the medium, or less than that
};

// The regions that hold a mark.
ChangeMap regions_of(const ChangeMap& marks, std::uint32_t region_bytes);

}  // namespace towline
