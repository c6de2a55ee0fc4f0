// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "userspace/engine/volume_layout.hpp"
#include "userspace/vault/volume_reader.hpp"

namespace towline {

// The volumes of a run, read as the one that the engine takes them for. All of a volume without a
// reader is zeros, as a gap is. Safe to use from several threads.
class PartsReader {
  public:
    // Neighbouring blocks of which one thing is to be said.
    struct Stretch {
        BlockRun run;
        VolumeReader* reader = nullptr;  // null: zeros
        std::uint64_t first = 0;         // block of the reader
        // The volume has changed its size: what is stored for the block may be longer or shorter
        // than it is now, and is not what a reader would show. It cannot be kept.
        bool outgrown = false;
    };

    // A reader for each part of the layout; null: nothing of it is there.
    PartsReader(VolumeLayout layout, std::uint32_t block_bytes,
                std::vector<std::shared_ptr<VolumeReader>> readers)
        : layout_(std::move(layout)), block_bytes_(block_bytes), readers_(std::move(readers)) {}

    std::uint32_t block_bytes() const { return block_bytes_; }
    // From the begin of `run`, as far as one thing is to be said.
    Stretch front_of(BlockRun run) const;

  private:
    VolumeLayout layout_;
    std::uint32_t block_bytes_;
    std::vector<std::shared_ptr<VolumeReader>> readers_;
};

}  // namespace towline
