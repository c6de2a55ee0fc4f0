// SPDX-License-Identifier: Apache-2.0
// Copy-on-write as a state machine, without I/O and without a lock: its owner serialises the steps
// and does the copying between claim and finish. A state only goes forward, but for a copy that
// failed, which fails the whole snapshot.

#include "cbt/chunk_states.hpp"

#include <algorithm>

#include "io/check.hpp"

namespace towline {

ChunkStates::ChunkStates(std::uint64_t volume_bytes, std::uint32_t chunk_bytes,
                         std::uint64_t slot_count)
    : done_(volume_bytes, chunk_bytes), slot_count_(std::min(slot_count, done_.block_count())) {}

BlockRun ChunkStates::chunks_of(Extent extent) const {
    if (extent.length_bytes == 0 || extent.offset_bytes >= volume_bytes()) return {};
    const std::uint64_t end = std::min(extent.end_bytes(), volume_bytes());
    const std::uint64_t first = extent.offset_bytes / chunk_bytes();
    return {first, (end - 1) / chunk_bytes() - first + 1};
}

ChunkState ChunkStates::state(std::uint64_t chunk) const {
    if (done_.test(chunk)) return ChunkState::kDone;
    return copying_.contains(chunk) ? ChunkState::kCopying : ChunkState::kNew;
}

void ChunkStates::claim(std::uint64_t chunk) {
    CHECK(state(chunk) == ChunkState::kNew);
    copying_.insert(chunk);
}

std::optional<std::uint64_t> ChunkStates::take_slot() {
    if (slots_used_ == slot_count_) return std::nullopt;
    return slots_used_++;
}

void ChunkStates::finish(std::uint64_t chunk, std::optional<std::uint64_t> slot) {
    CHECK(state(chunk) == ChunkState::kCopying);
    copying_.erase(chunk);
    if (slot) slots_.emplace(chunk, *slot);
    done_.mark_blocks({chunk, 1});
}

void ChunkStates::abandon(std::uint64_t chunk) {
    CHECK(state(chunk) == ChunkState::kCopying);
    copying_.erase(chunk);
}

std::optional<std::uint64_t> ChunkStates::slot_of(std::uint64_t chunk) const {
    CHECK(state(chunk) == ChunkState::kDone);
    const auto found = slots_.find(chunk);
    if (found == slots_.end()) return std::nullopt;
    return found->second;
}

}  // namespace towline
