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
class VolumeWriter final : public BlockSink {
  public:
    VolumeWriter(IoEngine& engine, const TargetVolume& volume);
    ~VolumeWriter() override;
    VolumeWriter(const VolumeWriter&) = delete;
    VolumeWriter& operator=(const VolumeWriter&) = delete;

    // Only the stretch that ends the volume may end between sectors, and it is written once.
    void write(const Stretch& stretch, Done done) override;
    void zero(Extent extent, Done done) override;
    void flush(Done done) override;
    bool failed_flush_taints() const override { return true; }
    std::unique_ptr<HashPass> hash(HashKind kind, BufferPool& pool, const BlockHasher& hasher,
                                   const ChangeMap& wanted, const std::vector<Extent>& data,
                                   HashPass::Sink sink, HashPass::Done done) override;

    void stop() override { stopped_ = true; }
    bool idle() const override { return free_.size() == stretches_.size() && !flush_.busy(); }

  private:
    struct Write;

    void start(Extent extent, const std::byte* memory, Done done);
    Write& take_write();
    void finish(Write& write, Status status);
    void issue(Write& write);
    void on_io(Write& write, std::int64_t result);
    void on_tail_read(Write& write, std::uint64_t read_bytes);

    IoEngine& engine_;
    TargetVolume volume_;
    BufferPool tail_pool_{1, BufferPool::kAlignmentBytes};
    Buffer* tail_;
    std::vector<std::unique_ptr<Write>> stretches_;
    std::vector<Write*> free_;
    Completion flush_;
    Done flush_done_;
    bool stopped_ = false;
};

}  // namespace towline
