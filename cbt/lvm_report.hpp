// SPDX-License-Identifier: Apache-2.0
#pragma once

// What LVM and device-mapper say of a logical volume, read: pure.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/result.hpp"

namespace towline {

struct LogicalVolume {
    std::string group;
    std::string name;
    std::string path;                 // in /dev/mapper, where it is when it is active
    std::string origin;               // of a snapshot
    std::string pool;                 // of a thin one
    std::vector<std::string> layout;  // "linear", "thin", "thin" and "pool", ...
    std::vector<std::string> tags;
    bool active = false;
    std::uint64_t bytes = 0;
    std::uint64_t group_free_bytes = 0;
    std::uint64_t thin_id = 0;  // within its pool

    std::string full_name() const { return group + "/" + name; }
    bool is_thin() const { return !pool.empty(); }
    bool has_tag(std::string_view tag) const;
    // What `tag` has behind itself: "prefix.REST".
    std::string tag_rest(std::string_view prefix) const;
};

// The fields of `lvs -o` that the above is read from.
std::string_view logical_volume_fields();
Result<std::vector<LogicalVolume>> parse_logical_volumes(std::string_view json);

// How much of the room for what is overwritten is used: of a thick snapshot's own store, or of a
// thin one's pool. By `dmsetup status`.
struct SnapshotRoom {
    std::uint64_t used = 0;  // in units of the target's
    std::uint64_t all = 0;
    std::uint64_t metadata_used = 0;  // of a pool
    std::uint64_t metadata_all = 0;
    std::uint64_t unit_bytes = 0;  // of used and all; 0: unknown
    bool lost = false;             // the image is none any more; a pool: it takes no writes

    double share() const;  // 0 to 1, of data or metadata, whichever is fuller
};
// Nothing: it is no status of such a target.
std::optional<SnapshotRoom> parse_snapshot_room(std::string_view status);

}  // namespace towline
