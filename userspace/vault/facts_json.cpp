// SPDX-License-Identifier: Apache-2.0
// Facts are for people and programs, and nothing is read by them: so texts that a volume brings (a
// label, a partition's name) are taken as they come, and sizes alone are looked at.

#include "userspace/vault/facts_json.hpp"

#include <nlohmann/json.hpp>

namespace towline {

namespace {

using Json = nlohmann::json;

Json json_of(const FilesystemFacts& facts) {
    return {{"type", facts.type}, {"uuid", facts.uuid}, {"label", facts.label}};
}

FilesystemFacts filesystem_of(const Json& json) {
    return {.type = json.at("type").get<std::string>(),
            .uuid = json.at("uuid").get<std::string>(),
            .label = json.at("label").get<std::string>()};
}

Json json_of(const PartitionFacts& facts) {
    Json json{{"number", facts.number}, {"start", facts.start_bytes}, {"bytes", facts.bytes},
              {"type", facts.type},     {"uuid", facts.uuid},         {"name", facts.name}};
    if (facts.extended) json["extended"] = true;
    if (facts.logical) json["logical"] = true;
    if (!facts.filesystem.type.empty()) json["filesystem"] = json_of(facts.filesystem);
    return json;
}

PartitionFacts partition_of(const Json& json, std::uint64_t volume_bytes) {
    PartitionFacts facts{.number = json.at("number").get<unsigned>(),
                         .start_bytes = json.at("start").get<std::uint64_t>(),
                         .bytes = json.at("bytes").get<std::uint64_t>(),
                         .type = json.at("type").get<std::string>(),
                         .uuid = json.at("uuid").get<std::string>(),
                         .name = json.at("name").get<std::string>(),
                         .extended = json.value("extended", false),
                         .logical = json.value("logical", false)};
    if (facts.start_bytes > volume_bytes || facts.bytes > volume_bytes - facts.start_bytes)
        throw Json::other_error::create(501, "a partition behind the volume's end", nullptr);
    if (const auto its = json.find("filesystem"); its != json.end())
        facts.filesystem = filesystem_of(*its);
    return facts;
}

}  // namespace

Json to_json(const VolumeFacts& facts) {
    Json json = Json::object();
    if (!facts.filesystem.type.empty()) json["filesystem"] = json_of(facts.filesystem);
    if (facts.table.empty()) return json;
    json["table"] = facts.table;
    json["table_uuid"] = facts.table_uuid;
    json["sector_bytes"] = facts.sector_bytes;
    json["partitions"] = Json::array();
    for (const PartitionFacts& each : facts.partitions)
        json["partitions"].push_back(json_of(each));
    return json;
}

VolumeFacts facts_from_json(const Json& json, std::uint64_t volume_bytes) {
    VolumeFacts facts{.bytes = volume_bytes};
    if (const auto its = json.find("filesystem"); its != json.end())
        facts.filesystem = filesystem_of(*its);
    if (!json.contains("table")) return facts;
    facts.table = json.at("table").get<std::string>();
    facts.table_uuid = json.at("table_uuid").get<std::string>();
    facts.sector_bytes = json.at("sector_bytes").get<std::uint32_t>();
    for (const Json& each : json.at("partitions"))
        facts.partitions.push_back(partition_of(each, volume_bytes));
    return facts;
}

}  // namespace towline
