// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "io/buffer_pool.hpp"
#include "userspace/engine/target_store.hpp"

namespace towline {

// Writes stretches to a target's volume, each whole however short the single writes come, any
// number at a time. The volume's odd tail is padded with what the volume holds there, so that
// nothing past the source's end is changed. Owned by one loop thread.
class VolumeWriter {
  public:
    // Also called when the writer was stopped on the way: what is under way ends, the rest is left.
    using Done = std::function<void(Status)>;

    VolumeWriter(IoEngine& engine, const TargetVolume& volume);
    ~VolumeWriter();
    VolumeWriter(const VolumeWriter&) = delete;
    VolumeWriter& operator=(const VolumeWriter&) = delete;

    // Null memory: zeros. The memory is borrowed until `done`, which is never called from within
    // this call. Only the stretch that ends the volume may end between sectors, and it is written
    // once.
    void write(Extent extent, const std::byte* memory, Done done);

    void stop() { stopped_ = true; }
    bool idle() const { return free_.size() == stretches_.size(); }

  private:
    struct Stretch;

    Stretch& take_stretch();
    void finish(Stretch& stretch, Status status);
    void issue(Stretch& stretch);
    void on_io(Stretch& stretch, std::int64_t result);
    void on_tail_read(Stretch& stretch, std::uint64_t read_bytes);

    IoEngine& engine_;
    TargetVolume volume_;
    BufferPool tail_pool_{1, BufferPool::kAlignmentBytes};
    Buffer* tail_;
    std::vector<std::unique_ptr<Stretch>> stretches_;
    std::vector<Stretch*> free_;
    bool stopped_ = false;
};

}  // namespace towline
