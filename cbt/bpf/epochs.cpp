// SPDX-License-Identifier: Apache-2.0
// Epochs in memory that the kernel's programs mark and that several processes come to in turn.
//
//     idle ── switching ──► frozen ── dropping ──► idle
//
// Each step is entered by one store, and what it does can be done again: a process that is killed
// anywhere leaves a step behind that the next one finishes. Marks are only ever cleared in the half
// that no program uses: it became the frozen one by a switch and a grace period. A bit that is
// ORed back into the present half races with the programs' own, hence atomically.
//
// What counts as a gap is read after the switch and charged to the epoch that ended. Its consumer
// compares everything, and reads later than whatever was missed. A write that is still in flight
// then, and that neither its completion nor `unfinished` will mark, is the one that this could
// lose: `settled` is 0 as long as there may be such a one, and no epoch that begins so is trusted.

#include "cbt/bpf/epochs.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

#include "io/align.hpp"
#include "io/check.hpp"

namespace towline {
namespace {

constexpr int kWordBits = 64;
constexpr std::uint64_t kHalfBytesGranule = 4 << 10;

void or_into(std::uint64_t& word, std::uint64_t bits) {
    std::atomic_ref<std::uint64_t>(word).fetch_or(bits, std::memory_order_relaxed);
}

Trust worse(std::uint32_t one, std::uint32_t other) {
    return static_cast<Trust>(std::max(one, other));
}

constexpr auto kGapBit = static_cast<std::uint32_t>(ChangeReason::kGap);
constexpr auto kMergedBit = static_cast<std::uint32_t>(ChangeReason::kMerged);
constexpr auto kExact = static_cast<std::uint32_t>(Trust::kExact);
constexpr auto kUnknown = static_cast<std::uint32_t>(Trust::kUnknown);

}  // namespace

std::uint64_t BpfEpochs::Geometry::half_words() const {
    const std::uint64_t bytes = (block_count() + kWordBits - 1) / kWordBits * sizeof(std::uint64_t);
    return align_up(std::max<std::uint64_t>(bytes, 1), kHalfBytesGranule) / sizeof(std::uint64_t);
}

BpfEpochs::BpfEpochs(tl_control& control, std::span<std::uint64_t> marks, Geometry geometry)
    : control_(control), epochs_(control.epochs), marks_(marks), geometry_(geometry) {
    CHECK(marks_.size() == 2 * geometry_.half_words());
}

void BpfEpochs::begin(const Uuid& tracker, bool settled, Trust trust, ChangeReasons reasons) {
    std::memcpy(epochs_.tracker, tracker.bytes.data(), tracker.bytes.size());
    epochs_.sequence = 1;
    epochs_.settled = settled ? 1 : 0;
    epochs_.trust = settled ? static_cast<std::uint32_t>(trust) : kUnknown;
    reasons.add(ChangeReason::kFirst);
    if (!settled) reasons.add(ChangeReason::kGap);
    epochs_.reasons = reasons.bits();
    enter(Step::kIdle);
}

Uuid BpfEpochs::tracker() const {
    Uuid uuid;
    std::memcpy(uuid.bytes.data(), epochs_.tracker, uuid.bytes.size());
    return uuid;
}

std::uint64_t BpfEpochs::writes_seen() const {
    std::uint64_t writes = 0;
    for (tl_write_slot& slot : control_.slots)
        writes += std::atomic_ref(slot.writes).load(std::memory_order_relaxed);
    return writes;
}

std::span<std::uint64_t> BpfEpochs::half(std::uint32_t index) const {
    const std::size_t words = geometry_.half_words();
    return marks_.subspan(index * words, words);
}

std::span<std::uint64_t> BpfEpochs::present() const {
    return half(control_.active != 0 ? 1 : 0);
}

std::span<std::uint64_t> BpfEpochs::frozen() const {
    return half(control_.active != 0 ? 0 : 1);
}

BpfEpochs::Step BpfEpochs::step() const {
    return static_cast<Step>(std::atomic_ref(epochs_.step).load(std::memory_order_acquire));
}

void BpfEpochs::enter(Step step) {
    std::atomic_ref(epochs_.step)
        .store(static_cast<std::uint32_t>(step), std::memory_order_release);
}

bool BpfEpochs::missed_since(const HookCounts& counts) const {
    return counts.misses != epochs_.misses_seen || counts.passthrough != epochs_.passthrough_seen ||
           counts.untraced != epochs_.untraced_seen || counts.beyond != epochs_.beyond_seen ||
           counts.unseen != epochs_.unseen_seen;
}

void BpfEpochs::note_counts(const HookCounts& counts) {
    epochs_.misses_seen = counts.misses;
    epochs_.passthrough_seen = counts.passthrough;
    epochs_.untraced_seen = counts.untraced;
    epochs_.beyond_seen = counts.beyond;
    epochs_.unseen_seen = counts.unseen;
}

Trust BpfEpochs::trust(const HookCounts& counts) const {
    return worse(epochs_.trust, missed_since(counts) ? kUnknown : kExact);
}

ChangeReasons BpfEpochs::reasons(const HookCounts& counts) const {
    ChangeReasons reasons = ChangeReasons::of(epochs_.reasons);
    if (missed_since(counts)) reasons.add(ChangeReason::kGap);
    return reasons;
}

Status BpfEpochs::recover(const EpochHooks& hooks) {
    switch (step()) {
        case Step::kIdle:
            return {};
        case Step::kSwitching:
            return finish_switch(hooks);
        case Step::kFrozen:
            epochs_.sequence = epochs_.sequence_frozen + 1;
            // Died between the word and the deed.
            if (epochs_.sequence_frozen == epochs_.sequence_committed ||
                epochs_.sequence_frozen == epochs_.sequence_given_back)
                drop_frozen();
            return {};
        case Step::kDropping:
            drop_frozen();
            return {};
    }
    return fail(Code::kCorrupt, "the tracking's own notes are damaged; detach and attach again");
}

Result<ChangeSet> BpfEpochs::freeze(const EpochHooks& hooks) {
    TRY_STATUS(recover(hooks));
    if (step() == Step::kFrozen) return_frozen();
    // Whatever was not noted so far must have ended before the next epoch begins.
    if (epochs_.settled == 0 || missed_since(TRY(hooks.counts())))
        epochs_.settled = hooks.settle() ? 1 : 0;
    const HookCounts before = TRY(hooks.counts());

    epochs_.active_next = control_.active != 0 ? 0 : 1;
    enter(Step::kSwitching);
    TRY_STATUS(finish_switch(hooks));

    const HookCounts after = TRY(hooks.counts());
    if (missed_since(after)) {
        epochs_.trust_frozen = kUnknown;
        epochs_.reasons_frozen |= kGapBit;
    }
    if (after.misses != before.misses || after.untraced != before.untraced ||
        after.unseen != before.unseen)
        epochs_.settled = 0;
    if (epochs_.settled == 0) {
        epochs_.trust = kUnknown;
        epochs_.reasons |= kGapBit;
    }
    note_counts(after);

    return ChangeSet{.tracker = tracker(),
                     .sequence = epochs_.sequence_frozen,
                     .after = epochs_.sequence_committed,
                     .trust = static_cast<Trust>(epochs_.trust_frozen),
                     .reasons = ChangeReasons::of(epochs_.reasons_frozen),
                     .changes = frozen_changes(),
                     .excluded = {}};
}

// `active` first: from there on new writes are the new epoch's. The numbers follow from values that
// this does not change before it is through, so that it can be done again.
Status BpfEpochs::finish_switch(const EpochHooks& hooks) {
    std::atomic_ref(control_.active).store(epochs_.active_next, std::memory_order_seq_cst);
    TRY_STATUS(hooks.wait_for_programs());
    TRY_STATUS(hooks.each_unfinished([this](Extent extent) { mark_present(extent); }));
    if (epochs_.sequence_frozen != epochs_.sequence) {
        epochs_.trust_frozen = epochs_.trust;
        epochs_.reasons_frozen = epochs_.reasons;
        epochs_.sequence_frozen = epochs_.sequence;
    }
    std::atomic_signal_fence(std::memory_order_seq_cst);
    epochs_.trust = kExact;
    epochs_.reasons = 0;
    enter(Step::kFrozen);
    epochs_.sequence = epochs_.sequence_frozen + 1;
    return {};
}

void BpfEpochs::mark_present(Extent extent) {
    const std::uint64_t first = extent.offset_bytes / geometry_.block_bytes;
    const std::uint64_t end =
        (extent.end_bytes() + geometry_.block_bytes - 1) / geometry_.block_bytes;
    const auto words = present();
    for (std::uint64_t block = first; block < std::min(end, geometry_.block_count()); ++block)
        or_into(words[block / kWordBits], std::uint64_t{1} << (block % kWordBits));
}

Status BpfEpochs::commit(std::uint64_t sequence) {
    if (sequence == 0 || sequence >= epochs_.sequence)
        return fail(Code::kInvalid, "epoch " + std::to_string(sequence) + " has not been frozen");
    if (step() == Step::kFrozen && sequence == epochs_.sequence_frozen) {
        epochs_.sequence_committed = sequence;
        drop_frozen();
        return {};
    }
    if (sequence == epochs_.sequence_committed) return {};
    return fail(Code::kRefused,
                "epoch " + std::to_string(sequence) + " was given back, or is part of a later one");
}

Status BpfEpochs::give_back(std::uint64_t sequence) {
    if (sequence == 0 || sequence >= epochs_.sequence)
        return fail(Code::kInvalid, "epoch " + std::to_string(sequence) + " has not been frozen");
    if (step() == Step::kFrozen && sequence == epochs_.sequence_frozen) {
        return_frozen();
        return {};
    }
    if (sequence == epochs_.sequence_given_back) return {};
    return fail(Code::kRefused,
                "epoch " + std::to_string(sequence) + " was committed, or is part of a later one");
}

void BpfEpochs::return_frozen() {
    const auto to = present();
    const auto from = frozen();
    for (std::size_t i = 0; i < from.size(); ++i)
        if (from[i] != 0) or_into(to[i], from[i]);
    epochs_.trust = static_cast<std::uint32_t>(worse(epochs_.trust, epochs_.trust_frozen));
    epochs_.reasons |= epochs_.reasons_frozen | kMergedBit;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    epochs_.sequence_given_back = epochs_.sequence_frozen;
    drop_frozen();
}

void BpfEpochs::drop_frozen() {
    enter(Step::kDropping);
    std::ranges::fill(frozen(), 0);
    epochs_.sequence_frozen = 0;
    enter(Step::kIdle);
}

ChangeMap BpfEpochs::frozen_changes() const {
    ChangeMap changes(geometry_.volume_bytes, geometry_.block_bytes);
    const auto words = frozen();
    for (std::size_t i = 0; i < words.size(); ++i) {
        std::uint64_t left = words[i];
        while (left != 0) {
            const int first = std::countr_zero(left);
            const int count = std::countr_one(left >> first);
            changes.mark_blocks({i * kWordBits + static_cast<std::uint64_t>(first),
                                 static_cast<std::uint64_t>(count)});
            left = first + count == kWordBits ? 0 : left >> (first + count) << (first + count);
        }
    }
    return changes;
}

}  // namespace towline
