// SPDX-License-Identifier: Apache-2.0
// The bookkeeping of epochs, without a lock and without I/O: its owner serialises all of it. A mark
// is in the present or the frozen map from the moment it is made until its epoch is committed;
// nothing else here may clear one.

#include "cbt/epochs.hpp"

#include <algorithm>
#include <utility>

namespace towline {

Epochs::Epochs(Epoch present, std::optional<Epoch> frozen, std::uint64_t committed)
    : present_(std::move(present)), frozen_(std::move(frozen)), committed_(committed) {}

void Epochs::merge_frozen() {
    if (!frozen_) return;
    const ChangeMap& present = present_.marks;
    present_.marks.merge(frozen_->marks.resampled(present.volume_bytes(), present.block_bytes()));
    present_.trust = std::max(present_.trust, frozen_->trust);
    present_.reasons.add(frozen_->reasons);
    present_.reasons.add(ChangeReason::kMerged);
    frozen_.reset();
}

const Epoch& Epochs::freeze() {
    merge_frozen();
    Epoch next{.sequence = present_.sequence + 1,
               .trust = Trust::kExact,
               .reasons = {},
               .marks = ChangeMap(present_.marks.volume_bytes(), present_.marks.block_bytes())};
    frozen_ = std::exchange(present_, std::move(next));
    return *frozen_;
}

Settled Epochs::commit(std::uint64_t sequence) {
    if (frozen_ && frozen_->sequence == sequence) {
        committed_ = sequence;
        frozen_.reset();
        return Settled::kDone;
    }
    if (sequence == 0 || sequence >= present_.sequence) return Settled::kNever;
    return sequence == committed_ ? Settled::kRepeated : Settled::kOpposite;
}

Settled Epochs::give_back(std::uint64_t sequence) {
    if (frozen_ && frozen_->sequence == sequence) {
        merge_frozen();
        given_back_ = sequence;
        return Settled::kDone;
    }
    if (sequence == 0 || sequence >= present_.sequence) return Settled::kNever;
    return sequence == given_back_ ? Settled::kRepeated : Settled::kOpposite;
}

void Epochs::resize(std::uint64_t volume_bytes) {
    const std::uint64_t before = present_.marks.volume_bytes();
    if (volume_bytes == before) return;
    present_.marks = present_.marks.resampled(volume_bytes, present_.marks.block_bytes());
    present_.reasons.add(volume_bytes > before ? ChangeReason::kGrew : ChangeReason::kShrank);
    // Cut to the middle of a block, the block's own end is another one now.
    const std::uint64_t kept = std::min(before, volume_bytes);
    if (kept > 0) present_.marks.mark({kept - 1, 1});
    if (volume_bytes > before) present_.marks.mark({before, volume_bytes - before});
}

ChangeMap Epochs::uncommitted() const {
    ChangeMap all = present_.marks;
    if (frozen_) all.merge(frozen_->marks.resampled(all.volume_bytes(), all.block_bytes()));
    return all;
}

std::uint64_t Epochs::memory_bytes() const {
    return present_.marks.memory_bytes() + (frozen_ ? frozen_->marks.memory_bytes() : 0);
}

std::uint32_t block_bytes_for(std::uint64_t volume_bytes) {
    constexpr std::uint64_t kGiB = 1ULL << 30;
    if (volume_bytes <= 4 * kGiB) return 4U << 10;
    if (volume_bytes <= 32 * kGiB) return 16U << 10;
    if (volume_bytes <= 65536 * kGiB) return 64U << 10;
    return 1U << 20;
}

}  // namespace towline
