// SPDX-License-Identifier: Apache-2.0
// Staging: blocks lie in the order in which they came, so the file is written from its front to its
// back, whatever the run's pattern. An entry walks written -> flushing -> flushed -> the index;
// only what completed before a flush began is in that flush's batch.

#include "userspace/engine/staged_sink.hpp"

#include "io/align.hpp"
#include "io/check.hpp"
#include "userspace/engine/staged_format.hpp"

namespace towline {

namespace format = staged_format;

StagedSink::StagedSink(IoEngine& engine, const TargetVolume& volume, const StagedRun& run,
                       std::uint32_t block_bytes)
    : engine_(engine),
      volume_(volume),
      run_(run),
      view_(engine, volume.view, run.blocks.view),
      blocks_writer_(engine, run.blocks),
      volume_writer_(engine, volume),
      next_place_bytes_(run.index->places_end_bytes()) {
    written_.block_bytes = flushing_.block_bytes = flushed_.block_bytes = block_bytes;
    zeros_.on_done([this](std::int64_t) { on_zeros(); });
}

Result<std::unique_ptr<StagedSink>> StagedSink::open(IoEngine& engine, const TargetVolume& volume,
                                                     const StagedRun& run,
                                                     std::uint32_t block_bytes, bool resumed) {
    std::unique_ptr<StagedSink> sink(new StagedSink(engine, volume, run, block_bytes));
    if (resumed) TRY_STATUS(sink->view_.load(*run.index));
    sink->anything_ = !run.index->empty();
    return sink;
}

StagedSink::~StagedSink() {
    CHECK(idle());
}

// The volume is as it was: what helps is room, or another place.
Status StagedSink::worded(Status status) const {
    if (status) return status;
    Error error = status.error();
    error.context = "cannot stage the run in " + run_.shown + " (the target is untouched; " +
                    "--journal names another folder, --direct writes at once): " + error.context;
    return std::unexpected(std::move(error));
}

void StagedSink::write(const Stretch& stretch, Done done) {
    const Extent extent = stretch.extent;
    CHECK(extent.length_bytes <= format::kStretchBytesMax);
    anything_ = true;
    StagedBatch entry{.block_bytes = written_.block_bytes};
    entry.entries.push_back({.extent = extent, .place_bytes = next_place_bytes_});
    for (const StoredBlock& block : stretch.blocks)
        entry.crcs.push_back(block.crc);
    const Stretch placed{.extent = {next_place_bytes_, extent.length_bytes},
                         .plain = stretch.plain};
    next_place_bytes_ += align_up(extent.length_bytes, format::kPlaceBytes);
    blocks_writer_.write(
        placed, [this, entry = std::move(entry), done = std::move(done)](Status status) mutable {
            if (status && !stopped_) written_.take(std::move(entry));
            done(worded(std::move(status)));
        });
}

void StagedSink::zero(Extent extent, Done done) {
    anything_ = true;
    written_.add_zeros(extent);
    zeros_done_.push_back(std::move(done));
    if (zeros_.busy()) return;
    engine_.begin_external(zeros_);
    engine_.post(zeros_);
}

void StagedSink::on_zeros() {
    std::deque<Done> done;
    done.swap(zeros_done_);
    for (Done& each : done)
        each({});
}

void StagedSink::flush(Done done) {
    flushes_volume_ = !anything_;
    if (flushes_volume_) return volume_writer_.flush(std::move(done));
    flushing_.take(std::move(written_));
    blocks_writer_.flush([this, done = std::move(done)](Status status) {
        // Of a flush that failed nothing is durable, whatever a later one says.
        if (status) flushed_.take(std::move(flushing_));
        flushing_.clear();
        done(worded(std::move(status)));
    });
}

StagedBatch StagedSink::take_flushed() {
    StagedBatch batch{.block_bytes = flushed_.block_bytes};
    batch.take(std::move(flushed_));
    return batch;
}

std::unique_ptr<HashPass> StagedSink::hash(HashKind kind, BufferPool& pool,
                                           const BlockHasher& hasher, const ChangeMap& wanted,
                                           const std::vector<Extent>& data, HashPass::Sink sink,
                                           HashPass::Done done) {
    const bool as_it_is = kind == HashKind::kWritten || view_.extents().empty();
    if (as_it_is)
        return volume_writer_.hash(kind, pool, hasher, wanted, data, std::move(sink),
                                   std::move(done));
    data_ = view_.data(data);
    return std::make_unique<RangeHasher>(view_, pool, view_.view(), hasher, wanted, data_,
                                         std::move(sink), std::move(done));
}

void StagedSink::stop() {
    stopped_ = true;
    blocks_writer_.stop();
    volume_writer_.stop();
}

bool StagedSink::idle() const {
    return blocks_writer_.idle() && volume_writer_.idle() && !zeros_.busy();
}

}  // namespace towline
