// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <list>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "transport/codec.hpp"
#include "userspace/vault/liveness.hpp"
#include "userspace/vault/print_table.hpp"
#include "userspace/vault/segment.hpp"
#include "userspace/vault/segment_pins.hpp"

namespace towline {

// For a run into a vault that keeps equal blocks once: is a block there already? The segments that
// something was found in stay as they are while this lives, so that it is still there when the run
// is sealed. One thread at a time.
class TwinFinder {
  public:
    struct Twin {
        SegmentKey segment;
        std::uint32_t origin = 0;
        std::uint8_t kind = 0;
        std::uint32_t stored_bytes = 0;
    };

    explicit TwinFinder(std::shared_ptr<Vault> vault, std::size_t slots_max = PrintTable::kSlotsMax)
        : vault_(std::move(vault)), pins_(vault_), table_(slots_max) {}

    BlockIdentity identity_of(ByteSpan plain) const;
    // A stored block that has this identity, and whose stored bytes were read and give `plain`.
    std::optional<Twin> find(const BlockIdentity& identity, ByteSpan plain);
    // A segment that was put.
    void add(const SegmentKey& segment, const SegmentTable& table);
    // Before a point says what was found: that it is there still, and stays while this lives. kBusy
    // where the locks had been lost, and it was given back meanwhile.
    Status hold_again();
    // The same asked alone, by any number of threads while none of them finds or adds.
    Status stands() const;

  private:
    // A few tables: what two volumes have in common mostly lies in the same order. Those of blocks
    // that compress to almost nothing have many entries.
    static constexpr std::size_t kOpenEntriesMax = std::size_t{1} << 18;

    void load();
    // A segment's blocks, without its zeros: so origins rise.
    Result<std::shared_ptr<const OpenSegment>> open(const SegmentKey& segment);
    Result<SegmentPins> take_again() const;
    bool gives(const OpenSegment& segment, std::size_t entry, ByteSpan plain);

    std::shared_ptr<Vault> vault_;
    SegmentPins pins_;
    std::map<SegmentKey, std::uint32_t> found_in_;  // the generation that was looked into
    bool loaded_ = false;
    PrintTable table_;
    std::vector<SegmentKey> segments_;  // that the table speaks of
    // Of segments that are pinned: they were opened behind that, and stay true.
    std::map<SegmentKey, std::shared_ptr<const OpenSegment>> open_;
    std::list<SegmentKey> order_;  // of open_, the oldest first
    std::size_t open_entries_ = 0;
    Codec codec_;
    std::vector<std::byte> stored_;
    std::vector<std::byte> plain_;
};

}  // namespace towline
