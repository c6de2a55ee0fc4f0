// SPDX-License-Identifier: Apache-2.0
// One form for the command line and the API: what a program learnt of one holds for the other.

#include "userspace/vault/point_json.hpp"

#include <nlohmann/json.hpp>

#include "userspace/vault/facts_json.hpp"

namespace towline {

namespace {

nlohmann::json shown_form(const PointVolume& volume) {
    nlohmann::json json{{"name", volume.name},
                        {"source", volume.source.text()},
                        {"bytes", volume.bytes},
                        {"block_bytes", volume.block_bytes},
                        {"changed_bytes", volume.changed_bytes},
                        {"stored_bytes", volume.stored_bytes},
                        {"shared_bytes", volume.shared_bytes},
                        {"indexes", volume.indexes.size()}};
    if (volume.facts) json["facts"] = to_json(*volume.facts);
    return json;
}

}  // namespace

nlohmann::json shown_form(const Point& point) {
    nlohmann::json volumes = nlohmann::json::array();
    for (const PointVolume& each : point.volumes)
        volumes.push_back(shown_form(each));
    return {{"id", point.id.text()},
            {"sequence", point.sequence},
            {"created_at", point.created_at},
            {"label", point.label},
            {"group", point.group},
            {"frozen_us", point.frozen_us},
            {"mode", mode_name(point.mode)},
            {"attested", point.reread ? "reread" : "written"},
            {"digest", point.digest},
            {"root", point.root()},
            {"tracker", point.state.base.tracker.text()},
            {"volumes", std::move(volumes)}};
}

}  // namespace towline
