// SPDX-License-Identifier: Apache-2.0
// The JSON of log entries (docs/format-vault.md). What is not of its form is kCorrupt: an entry
// that cannot be read vouches for nothing. Fields that are not known are passed over.

#include "userspace/vault/point.hpp"

#include <algorithm>
#include <ctime>
#include <fstream>
#include <set>

#include <nlohmann/json.hpp>

#include "transport/wire_format.hpp"
#include "userspace/vault/facts_json.hpp"

namespace towline {

namespace {

using Json = nlohmann::json;

// Thrown by nlohmann too; ends in log_entry_from_json.
[[noreturn]] void refuse(const std::string& what) {
    throw Json::other_error::create(501, what, nullptr);
}

std::string text_at(const Json& json, const char* key) {
    return json.at(key).get<std::string>();
}

std::uint64_t number_at(const Json& json, const char* key,
                        std::uint64_t max = std::uint64_t{1} << 62) {
    const Json& value = json.at(key);
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > max)
        refuse(std::string("no number that can be at ") + key);
    return value.get<std::uint64_t>();
}

Uuid uuid_of(const Json& json) {
    const auto uuid = Uuid::parse(json.get<std::string>());
    if (!uuid) refuse("no uuid where one should be");
    return *uuid;
}

Sha256 sha256_at(const Json& json, const char* key) {
    const std::string text = text_at(json, key);
    Sha256 digest{};
    for (std::size_t i = 0; text.size() == 64 && i < digest.size(); ++i)
        digest[i] = static_cast<std::byte>(std::stoul(text.substr(2 * i, 2), nullptr, 16));
    if (hex_of(digest) != text) refuse(std::string("no digest at ") + key);
    return digest;
}

TargetRecord state_at(const Json& json, const char* key) {
    const auto record = record_from_json(json.at(key));
    if (!record) refuse(record.error().context);
    return *record;
}

RunMode mode_of(const std::string& name) {
    for (const RunMode each : {RunMode::kFull, RunMode::kExtents, RunMode::kScan})
        if (mode_name(each) == name) return each;
    refuse("an unknown mode");
}

PointIndex index_of(const Json& json) {
    return {.writer = uuid_of(json.at("writer")),
            .serial = number_at(json, "serial", UINT32_MAX),
            .level = static_cast<std::uint8_t>(number_at(json, "level", UINT8_MAX)),
            .entries = number_at(json, "entries"),
            .sha256 = sha256_at(json, "sha256")};
}

PointVolume volume_of(const Json& json) {
    PointVolume volume{.name = text_at(json, "name"),
                       .source = uuid_of(json.at("source")),
                       .bytes = number_at(json, "bytes"),
                       .block_bytes = static_cast<std::uint32_t>(
                           number_at(json, "block_bytes", vault_format::kBlockBytesMax)),
                       .changed_bytes = number_at(json, "changed_bytes"),
                       .stored_bytes = number_at(json, "stored_bytes")};
    if (json.contains("shared_bytes")) volume.shared_bytes = number_at(json, "shared_bytes");
    const std::uint32_t block = volume.block_bytes;
    if (volume.bytes == 0 || block < vault_format::kBlockBytesMin || (block & (block - 1)) != 0)
        refuse("a volume that cannot be");
    // A mount makes a file of it.
    if (volume.name.empty() || volume.name.size() > 255 || volume.name.front() == '.' ||
        volume.name.find('/') != std::string::npos || volume.name.find('\0') != std::string::npos)
        refuse("a volume's name that cannot be");
    for (const Json& each : json.at("indexes"))
        volume.indexes.push_back(index_of(each));
    if (const auto facts = json.find("facts"); facts != json.end())
        volume.facts = facts_from_json(*facts, volume.bytes);
    return volume;
}

Json json_of(const PointVolume& volume) {
    Json indexes = Json::array();
    for (const PointIndex& each : volume.indexes) {
        indexes.push_back({{"writer", each.writer.text()},
                           {"serial", each.serial},
                           {"level", each.level},
                           {"entries", each.entries},
                           {"sha256", hex_of(each.sha256)}});
    }
    Json json{{"name", volume.name},
              {"source", volume.source.text()},
              {"bytes", volume.bytes},
              {"block_bytes", volume.block_bytes},
              {"changed_bytes", volume.changed_bytes},
              {"stored_bytes", volume.stored_bytes},
              {"indexes", std::move(indexes)}};
    if (volume.shared_bytes > 0) json["shared_bytes"] = volume.shared_bytes;
    if (volume.facts) json["facts"] = to_json(*volume.facts);
    return json;
}

Json json_of(const Point& point) {
    Json volumes = Json::array();
    for (const PointVolume& each : point.volumes)
        volumes.push_back(json_of(each));
    return {{"kind", "point"},
            {"id", point.id.text()},
            {"sequence", point.sequence},
            {"created_at", point.created_at},
            {"clock",
             {{"boot", point.clock.boot},
              {"boot_seconds", point.clock.boot_seconds},
              {"seconds", point.clock.seconds}}},
            {"label", point.label},
            {"group", point.group},
            {"frozen_us", point.frozen_us},
            {"mode", mode_name(point.mode)},
            {"attested", point.reread ? "reread" : "written"},
            {"digest", point.digest},
            {"begin", point.begin},
            {"state", to_json(point.state)},
            {"volumes", std::move(volumes)},
            {"root", point.root()}};
}

Json json_of(const Begin& begin) {
    Json writers = Json::array();
    for (const Uuid& each : begin.writers)
        writers.push_back(each.text());
    return {{"kind", "begin"},
            {"writer", begin.writer.text()},
            {"writers", std::move(writers)},
            {"points", begin.points},
            {"state", to_json(begin.state)}};
}

Json json_of(const Delete& deleted) {
    return {{"kind", "delete"}, {"points", deleted.points}, {"ended", deleted.ended}};
}

Point point_of(const Json& json) {
    Point point{.id = uuid_of(json.at("id")),
                .sequence = number_at(json, "sequence"),
                .created_at = text_at(json, "created_at"),
                .clock = {.boot = text_at(json.at("clock"), "boot"),
                          .boot_seconds = number_at(json.at("clock"), "boot_seconds"),
                          .seconds = number_at(json.at("clock"), "seconds")},
                .label = text_at(json, "label"),
                .group = json.value("group", false),
                .frozen_us = json.value("frozen_us", std::uint64_t{0}),
                .mode = mode_of(text_at(json, "mode")),
                .reread = text_at(json, "attested") == "reread",
                .digest = text_at(json, "digest"),
                .begin = number_at(json, "begin"),
                .state = state_at(json, "state")};
    for (const Json& each : json.at("volumes"))
        point.volumes.push_back(volume_of(each));
    if (point.volumes.empty()) refuse("a point without volumes");
    // A mount would have two files of one name.
    std::set<std::string> names;
    for (const PointVolume& each : point.volumes)
        if (!names.insert(each.name).second) refuse("two volumes of one name");
    if (text_at(json, "root") != point.root()) refuse("the root is not that of what it names");
    return point;
}

std::vector<std::uint64_t> numbers_at(const Json& json, const char* key) {
    std::vector<std::uint64_t> numbers;
    for (const Json& each : json.at(key)) {
        if (!each.is_number_unsigned()) refuse(std::string("no numbers at ") + key);
        numbers.push_back(each.get<std::uint64_t>());
    }
    if (!std::ranges::is_sorted(numbers)) refuse(std::string("numbers out of order at ") + key);
    return numbers;
}

Begin begin_of(const Json& json) {
    Begin begin{.writer = uuid_of(json.at("writer")),
                .points = numbers_at(json, "points"),
                .state = state_at(json, "state")};
    for (const Json& each : json.at("writers"))
        begin.writers.push_back(uuid_of(each));
    return begin;
}

Delete delete_of(const Json& json) {
    return {.points = numbers_at(json, "points"), .ended = number_at(json, "ended")};
}

}  // namespace

std::string_view mode_name(RunMode mode) {
    switch (mode) {
        case RunMode::kFull:
            return "full";
        case RunMode::kExtents:
            return "extents";
        case RunMode::kScan:
            return "scan";
    }
    return "none";
}

std::string Point::root() const {
    std::string text = "point " + id.text() + " " + std::to_string(sequence) + " " + digest + "\n";
    for (const PointVolume& volume : volumes) {
        text += "volume " + volume.name + " " + volume.source.text() + " " +
                std::to_string(volume.bytes) + " " + std::to_string(volume.block_bytes) + "\n";
        for (const PointIndex& each : volume.indexes) {
            text += "index " + each.writer.text() + " " + std::to_string(each.serial) + " " +
                    hex_of(each.sha256) + "\n";
        }
    }
    return hex_of(towline::sha256(std::as_bytes(std::span(text))));
}

Result<std::size_t> find_volume(const Point& point, const std::string& name) {
    if (name.empty() && point.volumes.size() == 1) return std::size_t{0};
    std::string names;
    for (std::size_t place = 0; place < point.volumes.size(); ++place) {
        if (!name.empty() && point.volumes[place].name == name) return place;
        names += (names.empty() ? "" : ", ") + point.volumes[place].name;
    }
    if (name.empty())
        return fail(Code::kRefused,
                    "the point has several volumes (" + names + "); say which one (--volume NAME)");
    return fail(Code::kRefused, "the point has no volume " + name + "; it has " + names);
}

Json to_json(const LogEntry& entry) {
    return std::visit([](const auto& each) { return json_of(each); }, entry);
}

Result<LogEntry> log_entry_from_json(const Json& json, std::uint64_t number,
                                     const std::string& name) {
    try {
        const std::string kind = text_at(json, "kind");
        LogEntry entry;
        if (kind == "point") {
            entry = point_of(json);
        } else if (kind == "begin") {
            entry = begin_of(json);
        } else if (kind == "delete") {
            entry = delete_of(json);
        } else {
            refuse("an unknown kind");
        }
        std::visit([&](auto& each) { each.number = number; }, entry);
        return entry;
    } catch (const std::exception& problem) {
        return object_damaged(name, std::string("it is not of its form: ") + problem.what());
    }
}

// --- time ---------------------------------------------------------------------------------------

VaultClock advance(const VaultClock& before, const std::string& boot, std::uint64_t boot_seconds) {
    const bool same_boot = before.boot == boot && boot_seconds >= before.boot_seconds;
    const std::uint64_t passed = same_boot ? boot_seconds - before.boot_seconds : boot_seconds;
    return {.boot = boot, .boot_seconds = boot_seconds, .seconds = before.seconds + passed};
}

VaultClock now_on_this_host(const VaultClock& before) {
    timespec time{};
    ::clock_gettime(CLOCK_BOOTTIME, &time);
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::string boot;
    std::getline(file, boot);
    return advance(before, boot, static_cast<std::uint64_t>(time.tv_sec));
}

std::string utc_now() {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    ::gmtime_r(&now, &parts);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return text;
}

}  // namespace towline
