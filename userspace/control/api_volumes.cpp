// SPDX-License-Identifier: Apache-2.0
// The catalog: what was imported beside what is there now. A volume that was imported is the same
// as long as its path holds the same filesystem in the same size; else what was imported has
// expired, or, where nothing is at its path any more, is deleted. An import looks at every device,
// which takes as long as the slowest: until then what it will bring is Importing.

#include <map>

#include "userspace/control/api.hpp"
#include "userspace/control/catalog.hpp"

namespace towline {

using nlohmann::json;

namespace {

constexpr std::size_t kLimitDefault = 50;

bool same_volume(const json& imported, const json& there) {
    return imported.at("size_bytes") == there.at("size_bytes") &&
           imported.at("uuid") == there.at("uuid");
}

// By path; of one that is there it shows what is there.
std::map<std::string, json> merged(const json& there, const std::vector<json>& imported,
                                   bool importing) {
    std::map<std::string, json> all;
    for (json each : there) {
        each["state"] = importing ? "Importing" : "NotImported";
        const std::string path = each.at("path");
        all[path] = std::move(each);
    }
    for (json each : imported) {
        const std::string path = each.at("path");
        const auto now = all.find(path);
        if (now != all.end()) {
            now->second["state"] = same_volume(each, now->second) ? "Available" : "Expired";
        } else {
            each["state"] = "Deleted";
            all[path] = std::move(each);
        }
    }
    return all;
}

}  // namespace

std::expected<json, ApiError> Api::look_to_import(const ApiCall& call) {
    ++importing_;
    auto found = look_for_volumes(call);
    --importing_;
    return found;
}

std::expected<json, ApiError> Api::look_for_volumes(const ApiCall&) {
    const auto volumes = volumes_of_host();
    if (!volumes)
        return std::unexpected(ApiError{ApiCode::kStateNotSaved,
                                        "the host's block devices could not be listed", "",
                                        volumes.error().text()});
    json found = json::array();
    for (const CatalogVolume& each : *volumes)
        found.push_back(json_of(each));
    return found;
}

Api::Answered Api::list_volumes(const HttpRequest&, const ApiCall& call) {
    const auto there = look_for_volumes(call);
    if (!there) return std::unexpected(there.error());
    Result<std::vector<json>> imported = std::vector<json>{};
    service_.look([&](const Scheduler&, Store& store) { imported = store.volumes(); });
    if (!imported) return not_stored(imported.error());
    const std::string state = call.word("state");
    const std::string cursor = call.word("cursor");
    const std::size_t limit = call.number("limit").value_or(kLimitDefault);
    json volumes = json::array();
    json next = nullptr;
    for (const auto& [path, each] : merged(*there, *imported, importing_ > 0)) {
        if (path <= cursor) continue;
        if (!state.empty() && each.at("state") != state) continue;
        if (volumes.size() == limit) {
            next = volumes.back().at("path");
            break;
        }
        volumes.push_back(each);
    }
    return json_answer({{"volumes", volumes}, {"next", next}});
}

Api::Changed Api::import_volumes(const HttpRequest&, const ApiCall& call,
                                 JobService::Session& session) {
    const auto before = session.store().volumes();
    if (!before) return not_stored(before.error());
    const auto found = call.looked_up.get<std::vector<json>>();
    Change change{.object = "catalog", .changed = found != *before};
    if (const Status done = session.store().replace_volumes(found); !done)
        return not_stored(done.error());
    change.before = {{"imported", before->size()}};
    change.after = {{"imported", found.size()}};
    change.answer = json_answer({{"changed", change.changed}, {"imported", found.size()}});
    return change;
}

Api::Changed Api::clear_volumes(const HttpRequest&, const ApiCall&, JobService::Session& session) {
    const auto before = session.store().volumes();
    if (!before) return not_stored(before.error());
    if (const Status done = session.store().replace_volumes({}); !done)
        return not_stored(done.error());
    Change change{.object = "catalog", .changed = !before->empty()};
    change.before = {{"imported", before->size()}};
    change.after = {{"imported", 0}};
    change.answer = json_answer({{"changed", change.changed}, {"imported", 0}});
    return change;
}

}  // namespace towline
