// SPDX-License-Identifier: Apache-2.0
// Marks are dropped by commit alone; a freeze over a frozen epoch holds both. A commit of an epoch
// that was merged into a later one does nothing, as the module's, which refuses it.

#include "tests/sim/simulated_tracker.hpp"

#include "tests/sim/simulated_stores.hpp"

namespace towline {

namespace {

constexpr std::uint64_t kRegionBytes = 64 << 10;

}  // namespace

SimulatedTracker::SimulatedTracker(std::uint64_t volume_bytes, std::uint32_t block_bytes,
                                   SimulatedRandom& random)
    : random_(random), uuid_(draw_uuid(random)), present_(volume_bytes, block_bytes) {
    reasons_.add(ChangeReason::kFirst);
}

void SimulatedTracker::wrote(Extent extent) {
    ChangeMap marks(present_.volume_bytes(), present_.block_bytes());
    marks.mark(extent);
    for (auto run = marks.next_run(0, 1); run; run = marks.next_run(run->end(), 1)) {
        if (forget_one_of_ == 0 || random_.below(forget_one_of_) != 0) present_.mark_blocks(*run);
    }
}

void SimulatedTracker::attach_anew() {
    uuid_ = draw_uuid(random_);
    sequence_ = 1;
    committed_ = 0;
    present_.clear_all();
    trust_ = Trust::kExact;
    frozen_.reset();
}

// What is there anew is marked, and the block in which the shorter of the two ends.
void SimulatedTracker::resize(std::uint64_t volume_bytes) {
    const std::uint64_t before = present_.volume_bytes();
    if (volume_bytes == before) return;
    present_ = present_.resampled(volume_bytes, present_.block_bytes());
    present_.mark({std::min(before, volume_bytes) - 1, 1});
    if (volume_bytes > before) present_.mark({before, volume_bytes - before});
    reasons_.add(volume_bytes > before ? ChangeReason::kGrew : ChangeReason::kShrank);
}

// The epoch before, where nobody committed it.
void SimulatedTracker::fold() {
    if (!frozen_) return;
    present_.merge(frozen_->changes.resampled(present_.volume_bytes(), present_.block_bytes()));
    trust_ = std::max(trust_, frozen_->trust);
    reasons_.add(frozen_->reasons);
    reasons_.add(ChangeReason::kMerged);
    frozen_.reset();
}

void SimulatedTracker::crash() {
    fold();
    ChangeMap hot(present_.volume_bytes(), present_.block_bytes());
    for (auto run = present_.next_run(0); run; run = present_.next_run(run->end())) {
        const Extent extent = present_.extent_of(*run);
        const std::uint64_t begin = extent.offset_bytes / kRegionBytes * kRegionBytes;
        hot.mark({begin, extent.end_bytes() - begin + kRegionBytes});
    }
    present_ = std::move(hot);
    trust_ = std::max(trust_, Trust::kSuperset);
    reasons_.add(ChangeReason::kCrash);
}

ChangeSet SimulatedTracker::freeze() {
    fold();
    ChangeSet set{.tracker = uuid_,
                  .sequence = sequence_++,
                  .after = committed_,
                  .trust = trust_,
                  .reasons = reasons_,
                  .changes = present_};
    // Of a set that nobody can believe, nothing must be used.
    if (trust_ == Trust::kUnknown) set.changes.clear_all();
    present_.clear_all();
    trust_ = Trust::kExact;
    reasons_ = {};
    frozen_ = set;
    return set;
}

void SimulatedTracker::commit(std::uint64_t sequence) {
    if (!frozen_ || frozen_->sequence != sequence) return;
    committed_ = sequence;
    frozen_.reset();
}

void SimulatedTracker::give_back(std::uint64_t sequence) {
    if (frozen_ && frozen_->sequence == sequence) fold();
}

Status SimulatedMoment::take() {
    locked_ = true;
    set_ = tracker_.freeze();
    image_ = std::make_unique<SimulatedDisk>(
        world_, DiskPlan{.size_bytes = origin_.size_bytes(),
                         .alignment_bytes = origin_.plan().alignment_bytes});
    image_->fill(0, origin_.contents());
    return {};
}

Result<Moment> SimulatedMoment::open(IoEngine& engine) {
    return Moment{.view = {.handle = static_cast<SimulatedEngine&>(engine).attach_disk(*image_),
                           .size_bytes = image_->size_bytes(),
                           .alignment_bytes = image_->plan().alignment_bytes},
                  .data = {{0, image_->size_bytes()}},
                  .modified_ns = modified_ns_,
                  .changes = {set_}};
}

Status SimulatedMoment::settle(bool noted) {
    noted ? tracker_.commit(set_.sequence) : tracker_.give_back(set_.sequence);
    return {};
}

}  // namespace towline
