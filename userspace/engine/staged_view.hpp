// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "io/forwarding_engine.hpp"
#include "io/whole_read.hpp"
#include "userspace/engine/staged_index.hpp"

namespace towline {

// An engine that has one file more than the one it stands on: the volume as it will be when what is
// staged was applied. A read ends short where what is staged begins or ends; whoever reads whole
// asks on.
class StagedView final : public ForwardingEngine {
  public:
    // Where reads of `kView` go: to the volume, or to the file of staged blocks.
    StagedView(IoEngine& engine, const VolumeView& volume, const VolumeView& blocks);

    static constexpr Handle kView{(1 << 30) + 1};

    // What stands in the index now.
    Status load(const StagedIndex& index);
    const std::vector<Extent>& extents() const { return extents_; }
    VolumeView view() const;
    // Ranges outside of which the view is holes: those of the volume, and what is staged.
    std::vector<Extent> data(const std::vector<Extent>& of_volume) const;

    void read(Handle file, MutableByteSpan into, std::uint64_t offset_bytes,
              Completion& done) override;
    void detach(Handle handle) override {
        if (handle != kView) ForwardingEngine::detach(handle);
    }

  private:
    struct Piece {
        Extent extent;
        std::uint64_t place_bytes = 0;
    };

    const VolumeView volume_;
    const VolumeView blocks_;
    std::vector<Piece> pieces_;  // sorted, apart
    std::vector<Extent> extents_;
};

}  // namespace towline
