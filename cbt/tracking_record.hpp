// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "cbt/epochs.hpp"
#include "io/uuid.hpp"
#include "io/volume.hpp"

namespace towline {

// What the intent log of a tracked image holds (docs/format-intent-fuse.md).
struct TrackingRecord {
    Uuid tracker;
    bool clean = false;  // the maps beside it are all that is to be known
    std::uint64_t sequence = 1;
    std::uint64_t committed = 0;
    bool frozen = false;  // an epoch was handed out and not committed
    Trust trust = Trust::kExact;
    ChangeReasons reasons;
    std::uint32_t block_bytes = 0;
    // While a resize goes on the image has the one size or the other.
    std::uint64_t volume_bytes = 0;
    std::uint64_t resize_bytes = 0;
    ChangeMap hot;
    VolumeIdentity identity;
    bool sealed = false;            // the image carries the tracker's uuid, unless the log is void
    std::int64_t modified_ns = 0;   // of the image, at a clean end
    std::uint64_t maps_digest = 0;  // of the saved maps, at a clean end
};

nlohmann::json json_of(const TrackingRecord& record);
Result<TrackingRecord> record_of(const nlohmann::json& document);

// The image as it is found.
struct ImageFacts {
    VolumeIdentity identity;
    std::uint64_t volume_bytes = 0;
    std::int64_t modified_ns = 0;
    std::optional<Uuid> seal;   // nothing: the image carries none
    bool can_seal = true;       // its filesystem has extended attributes
    std::int64_t alive_ns = 0;  // when the daemon was last seen to be alive
    bool maps_good = false;     // the saved maps are there and have the record's digest
};

// How far what was kept can be believed.
enum class Resume {
    kFirst,     // nothing was kept
    kExact,     // the maps
    kSuperset,  // it was cut off: the hot regions
    kForeign,   // written to while nothing tracked it
    kReplaced,  // another image is in its place, or it has another size
    kVoid,      // the log could not be written, and said so
    kDamaged,   // what was kept cannot be read
};

std::string_view resume_text(Resume resume);
Resume decide_resume(const TrackingRecord& record, const ImageFacts& facts);

}  // namespace towline
