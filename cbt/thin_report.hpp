// SPDX-License-Identifier: Apache-2.0
#pragma once

// What device-mapper and thin_dump say of a thin volume and its pool, read: pure. What is not
// wholly understood is an Error, never a part of the truth: a chunk that is left out would be taken
// for zeros.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cbt/extent.hpp"
#include "io/result.hpp"

namespace towline {

// `dmsetup table` of a device that is one thin volume.
struct ThinVolume {
    std::uint64_t bytes = 0;
    std::string pool;         // "MAJOR:MINOR"
    std::uint64_t id = 0;     // within the pool
    bool has_origin = false;  // outside of the pool: what was never allocated is read from it
};
// Nothing: it is another kind of device, or none that is one thin volume and nothing else.
std::optional<ThinVolume> parse_thin_volume(std::string_view table);

// `dmsetup table` of a pool.
struct ThinPool {
    std::string metadata;  // "MAJOR:MINOR"
    std::uint64_t chunk_bytes = 0;
};
std::optional<ThinPool> parse_thin_pool(std::string_view table);

// The root of the metadata snapshot that stands, by `dmsetup status` of a pool; empty: none does.
// Nothing: the pool has failed, or tells it not.
std::optional<std::string> parse_metadata_snapshot(std::string_view status);

// What the pool has allocated to a volume, by `thin_dump --dev-id` (its XML).
Result<std::vector<Extent>> parse_thin_dump(std::string_view dump, const ThinPool& pool,
                                            const ThinVolume& volume);

}  // namespace towline
