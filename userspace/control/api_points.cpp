// SPDX-License-Identifier: Apache-2.0
// The vaults that jobs go to, and the points of a job. Outside of the lock: a vault may be on a
// disk that answers slowly. Only what this host keeps itself: another's vault is asked there.

#include <algorithm>
#include <sys/statvfs.h>

#include "transport/address.hpp"
#include "userspace/control/api.hpp"
#include "userspace/vault/point_json.hpp"
#include "userspace/vault/series_log.hpp"
#include "userspace/vault/vault_name.hpp"

namespace towline {

using nlohmann::json;

namespace {

constexpr std::size_t kLimitDefault = 50;

std::unexpected<ApiError> unreadable(const std::string& vault, const Error& error) {
    return std::unexpected(ApiError{ApiCode::kVaultUnreadable,
                                    "the vault " + vault +
                                        " cannot be read: see the cause, and whether it is "
                                        "mounted and its key is in the configuration ([vault])",
                                    "", error.text()});
}

json free_bytes(const std::filesystem::path& folder) {
    struct statvfs there {};
    if (::statvfs(folder.c_str(), &there) != 0) return nullptr;
    return std::uint64_t{there.f_bavail} * there.f_frsize;
}

// How a vault looks from here. What is wrong with it is in `error`: the list is of all of them.
json shown_vault(const std::filesystem::path& folder, const std::vector<std::string>& jobs,
                 const KeySource& keys) {
    json shown{{"path", folder.string()},
               {"jobs", jobs},
               {"encrypted", nullptr},
               {"names", nullptr},
               {"free_bytes", free_bytes(folder)},
               {"error", nullptr}};
    auto outside = VaultOutside::look(folder);
    if (!outside) {
        shown["error"] = outside.error().text();
        return shown;
    }
    shown["encrypted"] = outside->config.encryption.has_value();
    const auto vault = Vault::open(std::move(*outside), keys);
    const auto names = vault ? (*vault)->series() : std::unexpected(vault.error());
    if (names) {
        shown["names"] = names->size();
    } else {
        shown["error"] = names.error().text();
    }
    return shown;
}

}  // namespace

Api::Answered Api::list_vaults(const HttpRequest&, const ApiCall& call) {
    std::map<std::string, std::vector<std::string>> jobs_of_vaults;
    std::vector<std::pair<std::string, std::string>> targets;
    service_.look([&](const Scheduler& scheduler, Store&) {
        for (const auto& [job, core] : scheduler.jobs())
            targets.emplace_back(job, core.job().spec.target);
    });
    for (const auto& [job, target] : targets) {
        const auto name = VaultName::parse(target);
        if (name && *name) jobs_of_vaults[(*name)->folder.string()].push_back(job);
        // One that is not there is told of by what the job says.
        if (!name) jobs_of_vaults[target.substr(target.find(':') + 1)].push_back(job);
    }
    const std::string cursor = call.word("cursor");
    const std::size_t limit = call.number("limit").value_or(kLimitDefault);
    json vaults = json::array();
    json next = nullptr;
    for (const auto& [folder, jobs] : jobs_of_vaults) {
        if (folder <= cursor) continue;
        if (vaults.size() == limit) {
            next = vaults.back().at("path");
            break;
        }
        vaults.push_back(shown_vault(folder, jobs, service_.config().places.keys));
    }
    return json_answer({{"vaults", vaults}, {"next", next}});
}

// The newest first. A replica on a device or an image is of one moment, and has no points.
Api::Answered Api::list_points(const HttpRequest&, const ApiCall& call) {
    const std::string job = call.word("name");
    std::optional<std::string> target;
    service_.look([&](const Scheduler& scheduler, Store&) {
        if (const JobCore* core = scheduler.find(job)) target = core->job().spec.target;
    });
    if (!target) return refused(ApiCode::kNotFound, "there is no job " + job, "name");
    const auto remote = RemoteTarget::parse(*target);
    if (remote && *remote)
        return refused(ApiCode::kPointsElsewhere,
                       "the points of job " + job + " are kept by " + (*remote)->address.text() +
                           ": ask there (towline point list); the job's own `point` is the last");
    json points = json::array();
    json next = nullptr;
    if (!target->starts_with("vault:")) return json_answer({{"points", points}, {"next", next}});
    const auto name = VaultName::parse(*target);
    if (!name) return unreadable(*target, name.error());
    const auto vault = Vault::open((*name)->folder, service_.config().places.keys);
    const auto series = encode_series((*name)->name);
    if (!vault) return unreadable((*name)->folder.string(), vault.error());
    if (!series) return unreadable((*name)->folder.string(), series.error());
    const auto state = SeriesLog(*vault, *series).read();
    if (!state) return unreadable((*name)->folder.string(), state.error());
    // One that is damaged is not left out in silence.
    if (const Status whole = state->refuse_damaged(); !whole)
        return unreadable((*name)->folder.string(), whole.error());
    const std::uint64_t below = call.number("cursor").value_or(UINT64_MAX);
    const std::size_t limit = call.number("limit").value_or(kLimitDefault);
    for (auto each = state->points.rbegin(); each != state->points.rend(); ++each) {
        if (each->number >= below) continue;
        if (points.size() == limit) {
            next = std::prev(each)->number;
            break;
        }
        points.push_back(shown_form(*each));
    }
    return json_answer({{"points", points}, {"next", next}});
}

}  // namespace towline
