// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the log of a name says: a writer began, a point was sealed, points were deleted.

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "io/volume_facts.hpp"
#include "userspace/engine/target_record.hpp"
#include "userspace/vault/index.hpp"

namespace towline {

// The vault's own age: never runs faster than time does, whatever the host's clock is set to.
struct VaultClock {
    std::string boot;
    std::uint64_t boot_seconds = 0;
    std::uint64_t seconds = 0;
    bool operator==(const VaultClock&) const = default;
};

// `before`: of the newest point. `boot`, `boot_seconds`: of now.
VaultClock advance(const VaultClock& before, const std::string& boot, std::uint64_t boot_seconds);
VaultClock now_on_this_host(const VaultClock& before);

struct PointIndex {
    Uuid writer;
    std::uint64_t serial = 0;
    std::uint8_t level = 0;
    std::uint64_t entries = 0;
    Sha256 sha256{};
    bool operator==(const PointIndex&) const = default;
};

struct PointVolume {
    std::string name;
    Uuid source;
    std::uint64_t bytes = 0;
    std::uint32_t block_bytes = 0;
    std::uint64_t changed_bytes = 0;
    std::uint64_t stored_bytes = 0;
    std::uint64_t shared_bytes = 0;    // that were there already, and were not stored again
    std::vector<PointIndex> indexes;   // the newest first
    std::optional<VolumeFacts> facts;  // what lay on it; nothing: nobody could look, or knew to
    bool operator==(const PointVolume&) const = default;
};

struct Point {
    std::uint64_t number = 0;  // of its log entry
    Uuid id;
    std::uint64_t sequence = 0;
    std::string created_at;
    VaultClock clock;
    std::string label = "unknown";
    bool group = false;           // all of several volumes at this one moment
    std::uint64_t frozen_us = 0;  // how long filesystems were frozen for it
    RunMode mode{};
    bool reread = false;
    std::string digest;
    std::uint64_t begin = 0;
    TargetRecord state;
    std::vector<PointVolume> volumes;

    std::string root() const;
    bool operator==(const Point&) const = default;
};

struct Begin {
    std::uint64_t number = 0;
    Uuid writer;
    std::vector<Uuid> writers;          // of earlier sessions of this run
    std::vector<std::uint64_t> points;  // that count
    TargetRecord state;
    bool operator==(const Begin&) const = default;
};

struct Delete {
    std::uint64_t number = 0;
    std::vector<std::uint64_t> points;  // that still count
    std::uint64_t ended = 0;            // the last begin, if its run is no longer under way
    bool operator==(const Delete&) const = default;
};

// The place of the volume of this name; empty: the only one. kRefused with the names that there
// are.
Result<std::size_t> find_volume(const Point& point, const std::string& name);

using LogEntry = std::variant<Begin, Point, Delete>;

nlohmann::json to_json(const LogEntry& entry);
// The number is the object's, not the document's. kCorrupt with what is wrong; `name` is for it.
Result<LogEntry> log_entry_from_json(const nlohmann::json& json, std::uint64_t number,
                                     const std::string& name);

std::string utc_now();
std::string_view mode_name(RunMode mode);

}  // namespace towline
