// SPDX-License-Identifier: Apache-2.0
// The record's persistent form (docs/format-state.md). Whatever is not exactly of it is kCorrupt: a
// record that cannot be read vouches for nothing.

#include "userspace/engine/target_record.hpp"

#include <array>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

namespace towline {

namespace {

constexpr int kFormat = 1;

constexpr std::array<std::pair<TargetState, std::string_view>, 4> kStates{
    {{TargetState::kUnclaimed, "unclaimed"},
     {TargetState::kBuilding, "building"},
     {TargetState::kSealed, "sealed"},
     {TargetState::kApplying, "applying"}}};

constexpr std::array<std::pair<RunMode, std::string_view>, 4> kModes{
    {{RunMode{}, "none"},
     {RunMode::kFull, "full"},
     {RunMode::kExtents, "extents"},
     {RunMode::kScan, "scan"}}};

using Stage = TargetRecord::Stage;
constexpr std::array<std::pair<Stage, std::string_view>, 3> kStages{
    {{Stage::kNone, "none"}, {Stage::kStaging, "staging"}, {Stage::kCommitted, "committed"}}};

template <typename E, std::size_t N>
std::string name_in(const std::array<std::pair<E, std::string_view>, N>& names, E value) {
    for (const auto& [each, name] : names) {
        if (each == value) return std::string(name);
    }
    return "none";
}

template <typename E, std::size_t N>
E value_in(const std::array<std::pair<E, std::string_view>, N>& names, const std::string& wanted) {
    for (const auto& [each, name] : names) {
        if (name == wanted) return each;
    }
    throw nlohmann::json::other_error::create(501, "unknown name " + wanted, nullptr);
}

Uuid uuid_at(const nlohmann::json& json, const char* key) {
    const auto uuid = Uuid::parse(json.at(key).get<std::string>());
    if (!uuid)
        throw nlohmann::json::other_error::create(501, std::string("no uuid at ") + key, nullptr);
    return *uuid;
}

Base base_of(const nlohmann::json& json) {
    return {.source = uuid_at(json, "source"),
            .tracker = uuid_at(json, "tracker"),
            .sequence = json.at("sequence").get<std::uint64_t>(),
            .point = uuid_at(json, "point")};
}

TargetRecord record_of(const nlohmann::json& json) {
    if (json.at("format").get<int>() != kFormat) {
        throw nlohmann::json::other_error::create(501, "a format that this Towline does not know",
                                                  nullptr);
    }
    return {.state = value_in(kStates, json.at("state").get<std::string>()),
            .target = uuid_at(json, "target"),
            .base = base_of(json.at("base")),
            .owner = uuid_at(json, "owner"),
            .run = uuid_at(json, "run"),
            .run_mode = value_in(kModes, json.at("run_mode").get<std::string>()),
            .plan_digest = json.at("plan_digest").get<std::uint64_t>(),
            .stage = json.contains("stage") ? value_in(kStages, json.at("stage").get<std::string>())
                                            : Stage::kNone,
            .verify = json.contains("verify") && json.at("verify").get<bool>(),
            .run_base = base_of(json.at("run_base")),
            .volume_bytes = json.at("volume_bytes").get<std::uint64_t>(),
            .flush_failed_run =
                json.contains("flush_failed_run") ? uuid_at(json, "flush_failed_run") : Uuid{}};
}

// nlohmann's exceptions end here.
template <typename Parse>
auto guarded(const nlohmann::json& json, Parse parse) -> Result<decltype(parse(json))> {
    try {
        return parse(json);
    } catch (const nlohmann::json::exception& problem) {
        return fail(Code::kCorrupt,
                    std::string("a record of a replica is not of its form: ") + problem.what());
    }
}

}  // namespace

TargetRecord sealed_from(const TargetRecord& committed) {
    return {.state = TargetState::kSealed,
            .target = committed.target,
            .base = committed.run_base,
            .owner = committed.run_base.source,
            .run = committed.run,
            .volume_bytes = committed.volume_bytes};
}

TargetRecord stage_lost(const TargetRecord& staged) {
    TargetRecord record = staged;
    record.stage = Stage::kNone;
    record.verify = false;
    return record;
}

nlohmann::json to_json(const Base& base) {
    return {{"source", base.source.text()},
            {"tracker", base.tracker.text()},
            {"sequence", base.sequence},
            {"point", base.point.text()}};
}

Result<Base> base_from_json(const nlohmann::json& json) {
    return guarded(json, base_of);
}

nlohmann::json to_json(const TargetRecord& record) {
    nlohmann::json json{{"format", kFormat},
                        {"state", name_in(kStates, record.state)},
                        {"target", record.target.text()},
                        {"base", to_json(record.base)},
                        {"owner", record.owner.text()},
                        {"run", record.run.text()},
                        {"run_mode", name_in(kModes, record.run_mode)},
                        {"plan_digest", record.plan_digest},
                        {"run_base", to_json(record.run_base)},
                        {"volume_bytes", record.volume_bytes}};
    if (record.stage != Stage::kNone) json["stage"] = name_in(kStages, record.stage);
    if (record.verify) json["verify"] = true;
    if (!record.flush_failed_run.is_nil())
        json["flush_failed_run"] = record.flush_failed_run.text();
    return json;
}

Result<TargetRecord> record_from_json(const nlohmann::json& json) {
    return guarded(json, record_of);
}

}  // namespace towline
