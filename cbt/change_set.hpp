// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cbt/change_map.hpp"
#include "io/uuid.hpp"

namespace towline {

// How far a tracker's word goes.
enum class Trust : std::uint8_t {
    kExact = 1,     // these blocks were written, and no other
    kSuperset = 2,  // every block that was written is among these: compare them
    kUnknown = 3,   // writes may have been missed: compare everything
};

std::string_view trust_name(Trust trust);

// What happened in an epoch that a report should say. Bits, since several can come together.
enum class ChangeReason : std::uint32_t {
    kFirst = 1U << 0,    // it began when the volume was attached
    kMerged = 1U << 1,   // holds earlier epochs that were never committed
    kGrew = 1U << 2,     // the volume grew; all that is new is marked
    kShrank = 1U << 3,   // it became smaller; what lay beyond is forgotten
    kCrash = 1U << 4,    // the tracking ended without being saved: hot regions are marked whole
    kGap = 1U << 5,      // the tracker was not in place for a moment, or missed some writes
    kForeign = 1U << 6,  // the volume was written to while nothing tracked it (a rescue system)
};

class ChangeReasons {
  public:
    void add(ChangeReason reason) { bits_ |= static_cast<std::uint32_t>(reason); }
    void add(ChangeReasons other) { bits_ |= other.bits_; }
    bool has(ChangeReason reason) const {
        return (bits_ & static_cast<std::uint32_t>(reason)) != 0;
    }
    bool empty() const { return bits_ == 0; }
    // As they are kept; bits that this build does not know stay.
    std::uint32_t bits() const { return bits_; }
    static ChangeReasons of(std::uint32_t bits) {
        ChangeReasons reasons;
        reasons.bits_ = bits;
        return reasons;
    }
    // "first, merged"; empty for none.
    std::string text() const;
    bool operator==(const ChangeReasons&) const = default;

  private:
    std::uint32_t bits_ = 0;
};

// The changes of a frozen epoch. What it promises, with trust exact or superset: every block whose
// content a write changed after epoch `after` had ended, and whose write was complete before the
// freeze returned, is marked here. A write that was in flight at the freeze is marked here and in
// the next epoch (rule 4). What is read after the freeze has each change, or the next epoch's set
// has it.
struct ChangeSet {
    // Of this volume's tracking, drawn anew whenever changes may have gone by that nothing noted.
    Uuid tracker;
    std::uint64_t sequence = 0;  // of the epoch; the first is 1
    // The newest epoch that was committed before, by whomever; 0: none was, and the set holds all
    // that changed since the volume was attached. A consumer that does not hold what changed up to
    // there has a hole, and must compare.
    std::uint64_t after = 0;
    Trust trust = Trust::kUnknown;
    ChangeReasons reasons;
    // Has the volume's size at the freeze and the tracker's block size. kUnknown: may be anything.
    ChangeMap changes;
    // What the volume holds for the tracker itself (its log, a snapshot's store) where that lies on
    // the volume: never marked, and to be taken for zeros (rule 8).
    std::vector<Extent> excluded;
};

}  // namespace towline
