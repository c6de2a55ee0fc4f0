// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "cbt/change_set.hpp"

namespace towline {

// The span between two freezes, and what was written in it.
struct Epoch {
    std::uint64_t sequence = 1;
    Trust trust = Trust::kExact;
    ChangeReasons reasons;
    ChangeMap marks;
};

// What became of a commit or a give-back.
enum class Settled { kDone, kRepeated, kOpposite, kNever };

// The epochs of one volume: the present one, at most one that is frozen, and the newest that was
// committed. Marks are dropped by commit alone.
class Epochs {
  public:
    explicit Epochs(Epoch present) : present_(std::move(present)) {}
    // As they were saved.
    Epochs(Epoch present, std::optional<Epoch> frozen, std::uint64_t committed);

    const Epoch& present() const { return present_; }
    const std::optional<Epoch>& frozen() const { return frozen_; }
    std::uint64_t committed() const { return committed_; }

    void mark(Extent extent) { present_.marks.mark(extent); }
    void add_reason(ChangeReason reason) { present_.reasons.add(reason); }

    // Ends the present epoch. One that is still frozen becomes a part of it.
    const Epoch& freeze();
    Settled commit(std::uint64_t sequence);
    Settled give_back(std::uint64_t sequence);

    // The volume has another size from now on. What is new is marked; what is gone, forgotten.
    void resize(std::uint64_t volume_bytes);

    // Everything that is marked and not committed.
    ChangeMap uncommitted() const;
    std::uint64_t memory_bytes() const;

  private:
    void merge_frozen();

    Epoch present_;
    std::optional<Epoch> frozen_;
    std::uint64_t committed_ = 0;
    std::uint64_t given_back_ = 0;
};

// 4 KiB to 1 MiB, so that a map stays small beside its volume.
std::uint32_t block_bytes_for(std::uint64_t volume_bytes);

}  // namespace towline
