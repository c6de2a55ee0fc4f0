// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "io/volume_facts.hpp"

namespace towline {

enum class GrownKind { kExt, kXfs, kBtrfs };

// What is made larger when a volume comes to lie on a larger device.
struct GrowthPlan {
    GrownKind kind = GrownKind::kExt;
    std::string filesystem;  // as blkid calls it
    std::string filesystem_uuid;
    std::string table;       // empty: the filesystem is the whole volume
    unsigned partition = 0;  // its number, with a table
    std::uint64_t start_bytes = 0;
    std::uint64_t bytes = 0;  // of the filesystem's place, before

    // Programs that it takes, and the package of each.
    struct Program {
        std::string name;
        std::string package;
    };
    std::vector<Program> programs() const;
};

struct GrowthTarget {
    std::string name;
    std::uint64_t bytes = 0;
    std::uint32_t sector_bytes = 512;  // of a device, its logical ones
};

// kRefused, with the remedy, for what cannot be grown.
Result<GrowthPlan> plan_growth(const VolumeFacts& volume, const GrowthTarget& target);

}  // namespace towline
