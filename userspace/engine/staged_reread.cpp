// SPDX-License-Identifier: Apache-2.0
// A piece at a time, both sides of it at once. The journal is read as it stands, later entries
// above earlier ones; that its blocks are what their source read was seen when they were applied.

#include "userspace/engine/staged_reread.hpp"

#include <algorithm>

#include "io/check.hpp"

namespace towline {

namespace {

// An image may have been opened before it got the run's size.
VolumeView applied(const TargetVolume& volume, std::uint64_t volume_bytes) {
    VolumeView view = volume.view;
    view.size_bytes = std::max(view.size_bytes, volume_bytes);
    return view;
}

}  // namespace

StagedReread::StagedReread(IoEngine& engine, const TargetVolume& volume, std::uint64_t volume_bytes,
                           StagedRun run, Done done)
    : engine_(engine),
      volume_(applied(volume, volume_bytes)),
      run_(std::move(run)),
      done_(std::move(done)),
      view_(engine, volume_, run_.blocks.view) {
    for (Side& side : sides_) {
        side.buffer = pool_.take();
        side.completion.on_done([this, &side](std::int64_t result) { on_read(side, result); });
    }
}

StagedReread::~StagedReread() {
    CHECK(idle());
    for (Side& side : sides_)
        pool_.give(side.buffer);
}

void StagedReread::start() {
    const Status loaded = view_.load(*run_.index);
    if (!loaded) return end(End::kFailed, loaded.error());
    left_.assign(view_.extents().rbegin(), view_.extents().rend());
    next();
}

void StagedReread::stop() {
    stopped_ = true;
}

void StagedReread::next() {
    if (stopped_) return end(End::kStopped, std::nullopt);
    if (left_.empty()) return end(End::kEqual, std::nullopt);
    Extent& extent = left_.back();
    piece_ = {extent.offset_bytes, std::min<std::uint64_t>(extent.length_bytes, kPieceBytes)};
    extent = {piece_.end_bytes(), extent.length_bytes - piece_.length_bytes};
    if (extent.length_bytes == 0) left_.pop_back();
    active_ = kSides;
    sides_[0].reading.start(engine_, volume_, sides_[0].buffer->bytes(), piece_.offset_bytes,
                            piece_.length_bytes, sides_[0].completion);
    sides_[1].reading.start(view_, view_.view(), sides_[1].buffer->bytes(), piece_.offset_bytes,
                            piece_.length_bytes, sides_[1].completion);
}

void StagedReread::on_read(Side& side, std::int64_t result) {
    switch (side.reading.take(result)) {
        case WholeRead::Step::kAgain:
            return;
        case WholeRead::Step::kFailed:
            failed_ = system_error(side.reading.system_errno(),
                                   "cannot read back what was staged in " + run_.shown);
            break;
        case WholeRead::Step::kWhole:
            break;
    }
    if (--active_ > 0) return;
    if (failed_) return end(End::kFailed, failed_);
    compare();
}

void StagedReread::compare() {
    const ByteSpan found = sides_[0].buffer->bytes().first(piece_.length_bytes);
    const ByteSpan wanted = sides_[1].buffer->bytes().first(piece_.length_bytes);
    const auto at = std::ranges::mismatch(found, wanted).in1;
    if (at == found.end()) return next();
    const auto offset = piece_.offset_bytes + static_cast<std::uint64_t>(at - found.begin());
    end(End::kDiffers, Error{Code::kCorrupt, 0,
                             "the target reads back something else than was written to it: byte " +
                                 std::to_string(offset)});
}

// The last thing: whoever is told may begin what it likes.
void StagedReread::end(End end, std::optional<Error> error) {
    done_(end, std::move(error));
}

}  // namespace towline
