// SPDX-License-Identifier: Apache-2.0
// `towline job delete`. The points stay, unless `--purge` says otherwise: then they go behind the
// job, by whoever may write to its vault, as all that is done with points. In this order: the vault
// is opened first, so that what cannot be purged is not deleted either; the job is gone before the
// first point goes, so that no run begins upon what is being taken away.

#include <algorithm>
#include <cstdio>
#include <thread>

#include "tools/towline/api_command.hpp"
#include "tools/towline/api_help.hpp"
#include "tools/towline/exit_codes.hpp"
#include "tools/towline/job_commands.hpp"
#include "tools/towline/key_words.hpp"
#include "tools/towline/progress_bar.hpp"
#include "userspace/vault/collector.hpp"
#include "userspace/vault/retention.hpp"
#include "userspace/vault/vault_name.hpp"

namespace towline {

using nlohmann::json;

namespace {

constexpr auto kLookInterval = std::chrono::milliseconds(100);
// A run that is stopped says goodbye to its target.
constexpr auto kStopTime = std::chrono::minutes(2);

struct DeleteWords : ApiWords {
    std::string name;
    bool purge = false;
    bool dry_run = false;
    KeyWords keys;

    std::string path() const { return "/v1/jobs/" + percent_encoded(name); }
};

// Where the points of the job are.
struct Points {
    std::shared_ptr<Vault> vault;
    std::string series;
    std::string text;  // "vault:DIR/NAME"
};

struct Purged {
    std::size_t deleted = 0;
    std::size_t by_floor = 0;
    std::size_t in_use = 0;
    std::uint64_t bytes = 0;
};

json json_of(const Purged& purged) {
    return {{"deleted", purged.deleted},
            {"kept_by_floor", purged.by_floor},
            {"kept_in_use", purged.in_use},
            {"bytes_freed", purged.bytes}};
}

// The jobs, if the daemon tells of them.
Result<json> all_jobs(const DeleteWords& words) {
    const auto answer = TRY(words.client().all("/v1/jobs", "jobs"));
    if (!answer.good()) return fail(Code::kRefused, field_text(answer.body, "message"));
    return answer.body.at("jobs");
}

Result<Points> find_points(const DeleteWords& words) {
    if (!words.place.host.empty())
        return fail(Code::kRefused,
                    "--purge is for a vault of this host: delete the job there, or without it");
    std::string target;
    const json jobs = TRY(all_jobs(words));
    for (const json& each : jobs)
        if (each.at("name") == words.name) target = each.at("target").get<std::string>();
    for (const json& each : jobs)
        if (each.at("name") != words.name && each.at("target") == target)
            return fail(Code::kRefused, "job " + each.at("name").get<std::string>() + " goes to " +
                                            target +
                                            " too: delete that one first, or leave --purge out");
    const auto name = TRY(VaultName::parse(target));
    if (!name || name->name.empty())
        return fail(Code::kRefused, "job " + words.name +
                                        " has no points in a vault of this host (" + target +
                                        "): leave --purge out; a replica is its user's to remove");
    return Points{.vault = TRY(Vault::open(name->folder, key_source(words.keys))),
                  .series = TRY(encode_series(name->name)),
                  .text = target};
}

// What the vault's floor leaves: of all but the newest by its own rule, and the newest likewise.
std::vector<std::uint64_t> to_delete(const VaultConfig& config, const SeriesState& state,
                                     Purged& purged) {
    if (state.points.empty()) return {};
    const Point& newest = state.points.back();
    const std::uint64_t now = now_on_this_host(newest.clock).seconds;
    RetentionDecision decision = decide_retention({.last = 1}, config, state.points, now);
    const std::uint64_t age = now - std::min(now, newest.clock.seconds);
    const bool held = config.floor_count > 0 || age < config.floor_seconds;
    (held ? decision.by_floor : decision.deleted).push_back(newest.number);
    purged.by_floor = decision.by_floor.size();
    return decision.deleted;
}

Result<Purged> purge(const Points& points, bool dry_run) {
    const SeriesState state = TRY(SeriesLog(points.vault, points.series).read());
    TRY_STATUS(state.refuse_damaged());
    Purged purged;
    const auto numbers = to_delete(points.vault->config(), state, purged);
    purged.deleted = numbers.size();
    if (dry_run) return purged;
    Collector collector(points.vault, points.series);
    if (!numbers.empty()) {
        const DeleteReport report = TRY(collector.delete_points(numbers));
        purged.deleted = report.deleted.size();
        purged.in_use = report.pinned.size();
    }
    const CollectReport collected = TRY(collector.collect());
    if (collected.segments_pinned > 0)
        std::fprintf(stderr, "towline job delete: %s\n", pinned_text(collected).c_str());
    purged.bytes = collected.bytes_before - std::min(collected.bytes_before, collected.bytes_after);
    return purged;
}

// Until nothing of it goes on.
Status wait_until_gone(const DeleteWords& words) {
    const Instant end = monotonic_now() + kStopTime;
    while (monotonic_now() < end) {
        const auto answer = TRY(words.client().call("GET", words.path()));
        if (answer.status == 404) return {};
        std::this_thread::sleep_for(kLookInterval);
    }
    return fail(Code::kTimeout, "the job's run does not end");
}

void show(const json& body) {
    const json& job = body.at("job");
    const bool dry_run = body.at("dry_run").get<bool>();
    std::printf("job %s: %s%s, %s\n", field_text(job, "name").c_str(),
                body.at("changed").get<bool>() ? "changed" : "not changed",
                dry_run ? " (dry run)" : "", field_text(job, "state").c_str());
    if (!body.contains("purged")) return;
    const json& purged = body.at("purged");
    std::printf("%s points %s", field_text(purged, "deleted").c_str(),
                dry_run ? "would go" : "deleted");
    if (purged.at("kept_by_floor") != 0)
        std::printf("; %s kept by the vault's floor", field_text(purged, "kept_by_floor").c_str());
    if (purged.at("kept_in_use") != 0)
        std::printf("; %s kept, as they are in use", field_text(purged, "kept_in_use").c_str());
    if (!dry_run)
        std::printf("; %s given back", human_bytes(purged.at("bytes_freed").get<double>()).c_str());
    std::printf("\n");
}

int remove(const DeleteWords& words) {
    std::optional<Points> points;
    if (words.purge) {
        const auto there = words.client().call("GET", words.path());
        if (!there || !there->good()) return finish(words, there, show);
        auto found = find_points(words);
        if (!found) return report(found.error());
        points = std::move(*found);
    }
    auto answer =
        words.client().call("DELETE", words.path() + (words.dry_run ? "?dry_run=true" : ""));
    if (!points || !answer || !answer->good()) return finish(words, answer, show);
    const Status gone = words.dry_run ? Status{} : wait_until_gone(words);
    const auto purged = gone ? purge(*points, words.dry_run) : std::unexpected(gone.error());
    if (!purged) {
        Error error = purged.error();
        error.context = "the job is deleted, and its points are not: " + error.context +
                        " (towline point list " + points->text + ")";
        return report(error);
    }
    if (!words.dry_run) answer->body["job"]["state"] = "Deleted";
    answer->body["purged"] = json_of(*purged);
    return finish(words, answer, show);
}

}  // namespace

void add_job_delete(CLI::App& group, std::function<int()>& run) {
    auto words = std::make_shared<DeleteWords>();
    CLI::App* command =
        group.add_subcommand("delete", "Stops the job and forgets it; the target stays as it is.");
    add_api_options(*command, *words);
    command->add_option("NAME", words->name, "the job")->required();
    command->add_flag("--purge", words->purge,
                      "its points go too, where its vault is on this host");
    command->add_flag("--dry-run", words->dry_run);
    describe_by_api(*command, "delete_job", {{"--dry-run", "dry_run"}});
    add_key_options(*command, words->keys);
    command->callback([words, &run] { run = [words] { return remove(*words); }; });
}

}  // namespace towline
