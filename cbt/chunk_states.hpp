// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "cbt/change_map.hpp"

namespace towline {

// kNew: the origin holds the chunk as it was. kCopying: somebody reads and stores it, and whoever
// wants to write to it waits. kDone: stored, the origin is free.
enum class ChunkState { kNew, kCopying, kDone };

// What became of the chunks of one snapshot. One bit a chunk, and an entry for each that is stored.
class ChunkStates {
  public:
    ChunkStates(std::uint64_t volume_bytes, std::uint32_t chunk_bytes, std::uint64_t slot_count);

    std::uint32_t chunk_bytes() const { return done_.block_bytes(); }
    std::uint64_t volume_bytes() const { return done_.volume_bytes(); }
    std::uint64_t chunk_count() const { return done_.block_count(); }
    // The chunks that an extent touches, as far as the snapshot reaches.
    BlockRun chunks_of(Extent extent) const;

    ChunkState state(std::uint64_t chunk) const;
    bool all_done(BlockRun chunks) const { return done_.all_set(chunks); }

    // kNew -> kCopying.
    void claim(std::uint64_t chunk);
    // Room for a claimed chunk; nothing when the store is full.
    std::optional<std::uint64_t> take_slot();
    // kCopying -> kDone; without a slot the chunk is all zeros.
    void finish(std::uint64_t chunk, std::optional<std::uint64_t> slot);
    // kCopying -> kNew: it could not be read or stored.
    void abandon(std::uint64_t chunk);

    // Of a chunk that is done: nothing for one of zeros.
    std::optional<std::uint64_t> slot_of(std::uint64_t chunk) const;
    std::uint64_t slots_used() const { return slots_used_; }
    std::uint64_t slot_count() const { return slot_count_; }

  private:
    ChangeMap done_;
    std::unordered_set<std::uint64_t> copying_;  // few: one a writer
    std::unordered_map<std::uint64_t, std::uint64_t> slots_;
    std::uint64_t slot_count_;
    std::uint64_t slots_used_ = 0;
};

}  // namespace towline
