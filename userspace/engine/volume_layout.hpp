// SPDX-License-Identifier: Apache-2.0
#pragma once

// The volumes of a run side by side: pure.

#include <optional>
#include <string>
#include <vector>

#include "cbt/change_map.hpp"
#include "io/checksum.hpp"
#include "transport/messages.hpp"

namespace towline {

struct VolumePart {
    std::string name;  // empty: the target finds one
    Uuid source;
    std::uint64_t start_bytes = 0;
    std::uint64_t bytes = 0;

    std::uint64_t end_bytes() const { return start_bytes + bytes; }
    Extent extent() const { return {start_bytes, bytes}; }
    bool operator==(const VolumePart&) const = default;
};

// What a run, its maps and its frames speak of as one volume: the volumes one behind the other.
// Each begins at a multiple of the largest block there is, and between two of them is at least one
// such block that reads as zeros: no block is of two volumes, and no stretch that is read is
// either. A volume alone begins at 0, and is as long as it is.
class VolumeLayout {
  public:
    VolumeLayout() = default;
    static VolumeLayout of_one(const Uuid& source, std::uint64_t bytes);
    // kInvalid: names or sizes that cannot be, or a volume twice.
    static Result<VolumeLayout> of(const std::vector<VolumesMessage::Volume>& volumes);

    const std::vector<VolumePart>& parts() const { return parts_; }
    bool several() const { return parts_.size() > 1; }
    // Of the volumes, without what lies between them.
    std::uint64_t data_bytes() const;
    // What lies between them, in whole blocks of any size.
    std::vector<Extent> gaps() const;
    std::uint64_t size_bytes() const { return parts_.empty() ? 0 : parts_.back().end_bytes(); }
    // The one that a byte lies in, or behind whose end; null: before all of them.
    const VolumePart* part_at(std::uint64_t offset_bytes) const;
    BlockCheck check() const;
    // Nothing: there is no need to tell.
    std::optional<VolumesMessage> message() const;
    // Which volumes of which sizes, to tell whether they are the same ones; empty: one alone, which
    // its source's uuid and size say already.
    std::string text() const;

    bool operator==(const VolumeLayout&) const = default;

  private:
    std::vector<VolumePart> parts_;
};

// Of the marks of all volumes, those of this one.
std::uint64_t marked_bytes(const ChangeMap& map, const VolumePart& part);

// What a volume may be called: a mount makes a file of it.
Status check_part_name(const std::string& name);

}  // namespace towline
