// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <memory>
#include <optional>

#include "userspace/engine/staged_index.hpp"
#include "userspace/engine/staged_view.hpp"
#include "userspace/engine/volume_writer.hpp"

namespace towline {

// The files of a run that is staged.
struct StagedRun {
    TargetVolume blocks;
    std::shared_ptr<StagedIndex> index;
    std::string shown;  // where they are, for people
};

// Where the blocks of a run go that must not touch the volume yet: one behind the other into a
// file, the place of each kept until it is durable and can go into the index. Owned by one loop
// thread.
class StagedSink final : public BlockSink {
  public:
    // `resumed`: what is in the index already counts, and comparisons see it.
    static Result<std::unique_ptr<StagedSink>> open(IoEngine& engine, const TargetVolume& volume,
                                                    const StagedRun& run, std::uint32_t block_bytes,
                                                    bool resumed);
    ~StagedSink() override;

    void write(const Stretch& stretch, Done done) override;
    void zero(Extent extent, Done done) override;
    // As long as nothing is staged it is the volume that is flushed: what a comparison found equal
    // may be what an earlier run wrote.
    void flush(Done done) override;
    bool failed_flush_taints() const override { return flushes_volume_; }
    std::unique_ptr<HashPass> hash(HashKind kind, BufferPool& pool, const BlockHasher& hasher,
                                   const ChangeMap& wanted, const std::vector<Extent>& data,
                                   HashPass::Sink sink, HashPass::Done done) override;
    void stop() override;
    bool idle() const override;

    // What the last flush made durable, once; to be appended to the index.
    StagedBatch take_flushed();
    const std::vector<Extent>& resumed_extents() const { return view_.extents(); }

  private:
    StagedSink(IoEngine& engine, const TargetVolume& volume, const StagedRun& run,
               std::uint32_t block_bytes);
    Status worded(Status status) const;
    void on_zeros();

    IoEngine& engine_;
    const TargetVolume volume_;
    const StagedRun run_;
    StagedView view_;
    VolumeWriter blocks_writer_;
    VolumeWriter volume_writer_;  // flushes
    std::vector<Extent> data_;    // of the view, for the pass at hand
    std::uint64_t next_place_bytes_;
    StagedBatch written_;   // since the last flush began
    StagedBatch flushing_;  // what the flush under way is for
    StagedBatch flushed_;
    bool anything_ = false;  // is staged, of this session or an earlier one
    bool flushes_volume_ = false;
    bool stopped_ = false;
    std::deque<Done> zeros_done_;
    Completion zeros_;  // tells them in the next round of the loop
};

}  // namespace towline
