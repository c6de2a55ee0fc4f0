// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace towline {

// Where blocks of some print are: one place a print, in memory that does not grow past a bound.
// What does not fit any more is not found, and is no more than that.
class PrintTable {
  public:
    struct Place {
        std::uint32_t segment = 0;  // the caller's number
        std::uint32_t origin = 0;
        bool operator==(const Place&) const = default;
    };
    // 2^21 slots of 16 bytes: 32 MiB, for a million and a half blocks.
    static constexpr std::size_t kSlotsMax = std::size_t{1} << 21;

    explicit PrintTable(std::size_t slots_max = kSlotsMax);

    // The later place of a print counts. `print` is not 0.
    void add(std::uint64_t print, const Place& place);
    std::optional<Place> find(std::uint64_t print) const;
    bool full() const { return used_ >= room(slots_max_); }
    std::size_t size() const { return used_; }
    std::size_t memory_bytes() const { return slots_.size() * sizeof(Slot); }

  private:
    struct Slot {
        std::uint64_t print = 0;  // 0: empty
        Place place;
    };
    static std::size_t room(std::size_t slots) { return slots / 4 * 3; }
    // That of the print, or the empty one where it would be.
    std::size_t slot_of(std::uint64_t print) const;
    void grow();

    std::size_t slots_max_;
    std::vector<Slot> slots_;
    std::size_t used_ = 0;
};

}  // namespace towline
