// SPDX-License-Identifier: Apache-2.0
// `towline vault`: makes a vault, says what is in it, checks it, and gives space back. Names are
// looked after one by one: what is wrong with one keeps nobody from the others.

#include <algorithm>
#include <cstdio>
#include <optional>

#include <nlohmann/json.hpp>

#include "tools/towline/commands.hpp"
#include "tools/towline/error_report.hpp"
#include "tools/towline/exit_codes.hpp"
#include "tools/towline/vault_commands.hpp"
#include "userspace/vault/collector.hpp"

namespace towline {

namespace {}  // namespace

Result<VaultName> find_vault(const std::string& text) {
    if (!text.starts_with("tcp://") && !text.starts_with("unix:")) return VaultName{.folder = text};
    auto name = TRY(VaultName::parse_any(text));
    if (name && name->point.empty()) return std::move(*name);
    return fail(Code::kInvalid, text + ": write tcp://HOST:PORT/vault: for the vault of a server");
}

Status refuse_served(const std::string& text) {
    if (!TRY(find_vault(text)).server) return {};
    return fail(Code::kRefused,
                text +
                    ": a server lets nobody take anything away, or change it; give this command "
                    "the vault's folder where it is kept, and its key");
}

namespace {

// --- init, info ---------------------------------------------------------------------------------

Result<int> init(const VaultWords& words) {
    VaultConfig config = words.config;
    if (words.dedup) config.dedup = Uuid::random();
    KeySource keys = key_source(words.keys);
    if (words.encrypt) {
        const NewKey key = TRY(new_key(keys, "a passphrase for the new vault: "));
        config = TRY(encrypted(std::move(config), key.kind, key.by.bytes()));
    } else if (keys.demanded) {
        return fail(Code::kInvalid, "a key is of use to an encrypted vault alone: say --encrypt");
    }
    TRY_STATUS(Vault::init(words.folder, config));
    const VaultOutside made = TRY(VaultOutside::look(words.folder));
    if (words.json)
        print_json({{"vault", made.config.vault.text()},
                    {"folder", words.folder},
                    {"encrypted", made.config.encryption.has_value()},
                    {"dedup", made.config.dedup.has_value()}});
    if (!words.json && !words.quiet)
        std::printf(
            "a new vault in %s%s; use it as vault:%s/NAME\n", words.folder.c_str(),
            words.encrypt ? ", encrypted: without its key or passphrase all in it is lost" : "",
            words.folder.c_str());
    return 0;
}

struct SeriesFacts {
    std::string name;
    SeriesState state;
    std::uint64_t index_bytes = 0;
    std::uint64_t segment_bytes = 0;
};

Result<std::uint64_t> folder_bytes(const Vault& vault, const std::string& folder) {
    std::uint64_t bytes = 0;
    for (const ObjectInfo& each : TRY(vault.store().list(folder)))
        bytes += each.bytes;
    return bytes;
}

Result<SeriesFacts> facts_of(const std::shared_ptr<Vault>& vault, const std::string& series) {
    using vault_format::ObjectKind;
    SeriesFacts facts{.name = decode_series(series), .state = {}};
    facts.state = TRY(SeriesLog(vault, series).read());
    facts.index_bytes = TRY(folder_bytes(*vault, object_folder(ObjectKind::kIndex, series)));
    if (!vault->config().dedup)
        facts.segment_bytes =
            TRY(folder_bytes(*vault, object_folder(ObjectKind::kSegment, series)));
    return facts;
}

std::uint64_t shared_bytes(const SeriesFacts& facts) {
    std::uint64_t bytes = 0;
    for (const Point& point : facts.state.points)
        for (const PointVolume& each : point.volumes)
            bytes += each.shared_bytes;
    return bytes;
}

std::uint64_t volume_bytes(const Point& point) {
    std::uint64_t bytes = 0;
    for (const PointVolume& each : point.volumes)
        bytes += each.bytes;
    return bytes;
}

nlohmann::json json_of(const SeriesFacts& facts) {
    const Point* newest = facts.state.newest();
    nlohmann::json json{{"name", facts.name},
                        {"points", facts.state.points.size()},
                        {"damaged_entries", facts.state.damaged.size()},
                        {"unfinished_run", facts.state.unfinished() != nullptr},
                        {"index_bytes", facts.index_bytes},
                        {"segment_bytes", facts.segment_bytes},
                        {"shared_bytes", shared_bytes(facts)}};
    if (newest != nullptr) {
        json["newest"] = {{"id", newest->id.text()}, {"created_at", newest->created_at}};
        json["volume_bytes"] = volume_bytes(*newest);
        json["volumes"] = newest->volumes.size();
    }
    return json;
}

// Of an encrypted vault, by who has no key: sizes and times alone.
Result<int> info_outside(const VaultOutside& outside, const VaultWords& words) {
    std::uint64_t bytes = 0;
    std::size_t names = 0;
    for (const char* const top : {"log/", "index/", "segment/"}) {
        const auto folders = TRY(outside.stored->list_folders(top));
        names = std::max(names, folders.size());
        for (const std::string& each : folders)
            for (const ObjectInfo& object : TRY(outside.stored->list(top + each + "/")))
                bytes += object.bytes;
    }
    if (words.json) {
        print_json({{"vault", outside.config.vault.text()},
                    {"created_at", outside.config.created_at},
                    {"floor_count", outside.config.floor_count},
                    {"floor_seconds", outside.config.floor_seconds},
                    {"encrypted", true},
                    {"locked", true},
                    {"bytes", bytes},
                    {"names_count", names}});
        return 0;
    }
    std::printf(
        "vault %s, made %s, %s of %zu names; it is encrypted, and without a key "
        "(--key-file, --passphrase-file) no more can be said\n",
        outside.config.vault.text().c_str(), outside.config.created_at.c_str(),
        bytes_text(bytes).c_str(), names);
    return 0;
}

Result<int> info(const VaultWords& words) {
    const VaultName name = TRY(find_vault(words.folder));
    const KeySource keys = key_source(words.keys);
    VaultOutside outside = TRY(name.look());
    if (outside.config.encryption && keys.empty()) return info_outside(outside, words);
    const auto vault = TRY(Vault::open(std::move(outside), keys));
    nlohmann::json names = nlohmann::json::array();
    std::uint64_t bytes = 0;
    std::uint64_t shared = 0;
    if (vault->config().dedup) {
        bytes = TRY(folder_bytes(
            *vault, object_folder(vault_format::ObjectKind::kSegment, vault->segment_series({}))));
    }
    std::string table;
    for (const std::string& series : TRY(vault->series())) {
        const SeriesFacts facts = TRY(facts_of(vault, series));
        bytes += facts.index_bytes + facts.segment_bytes;
        shared += shared_bytes(facts);
        names.push_back(json_of(facts));
        const Point* newest = facts.state.newest();
        char line[512];
        std::snprintf(line, sizeof line, "%-24s %6zu  %-20s %12s %12s%s\n", facts.name.c_str(),
                      facts.state.points.size(),
                      newest == nullptr ? "-" : newest->created_at.c_str(),
                      newest == nullptr ? "-" : bytes_text(volume_bytes(*newest)).c_str(),
                      bytes_text(facts.index_bytes + facts.segment_bytes).c_str(),
                      facts.state.unfinished() == nullptr ? "" : "  (a run is unfinished)");
        table += line;
    }
    if (words.json) {
        print_json({{"vault", vault->id().text()},
                    {"created_at", vault->config().created_at},
                    {"floor_count", vault->config().floor_count},
                    {"floor_seconds", vault->config().floor_seconds},
                    {"encrypted", vault->sealed() != nullptr},
                    {"dedup", vault->config().dedup.has_value()},
                    {"bytes", bytes},
                    {"shared_bytes", shared},
                    {"names", std::move(names)}});
        return 0;
    }
    std::printf("vault %s, made %s, %s%s\n", vault->id().text().c_str(),
                vault->config().created_at.c_str(), bytes_text(bytes).c_str(),
                vault->sealed() == nullptr ? "" : ", encrypted");
    if (vault->config().dedup) {
        std::printf(
            "equal blocks are kept once: %s were not stored again by the runs of the points "
            "that are there\n",
            bytes_text(shared).c_str());
    }
    std::printf("%-24s %6s  %-20s %12s %12s\n%s", "NAME", "POINTS", "NEWEST", "VOLUME", "STORED",
                table.c_str());
    return 0;
}

// --- prune --------------------------------------------------------------------------------------

Result<nlohmann::json> prune_name(const VaultWords& words, const std::shared_ptr<Vault>& vault,
                                  const std::string& series, bool segments, CollectReport& total) {
    const SeriesState state = TRY(SeriesLog(vault, series).read());
    const Point* newest = state.newest();
    const VaultClock now = now_on_this_host(newest == nullptr ? VaultClock{} : newest->clock);
    const RetentionDecision decision =
        decide_retention(words.policy, vault->config(), state.points, now.seconds);
    DeleteReport report{.deleted = decision.deleted, .pinned = {}};
    if (!words.dry_run) {
        VaultBar bar(words, "Prune");
        Collector collector(
            vault, series,
            {.segments = segments,
             .progress = [&](std::uint64_t done, std::uint64_t all) { bar.show(done, all); }});
        report = TRY(collector.delete_points(decision.deleted));
        total.add(TRY(collector.collect()));
    }
    const auto ids = [&](const std::vector<std::uint64_t>& numbers) {
        nlohmann::json list = nlohmann::json::array();
        for (const Point& each : state.points)
            if (std::ranges::find(numbers, each.number) != numbers.end())
                list.push_back(each.id.text());
        return list;
    };
    return nlohmann::json{{"name", decode_series(series)},
                          {"points", state.points.size() - report.deleted.size()},
                          {"deleted", ids(report.deleted)},
                          {"kept_by_floor", ids(decision.by_floor)},
                          {"kept_in_use", ids(report.pinned)}};
}

void print_pruned(const nlohmann::json& name, bool dry_run) {
    std::printf("%s: %zu points %s, %zu left", name["name"].get<std::string>().c_str(),
                name["deleted"].size(), dry_run ? "would go" : "deleted",
                name["points"].get<std::size_t>());
    if (!name["kept_by_floor"].empty())
        std::printf("; %zu kept by the vault's floor", name["kept_by_floor"].size());
    if (!name["kept_in_use"].empty())
        std::printf("; %zu kept, as they are in use", name["kept_in_use"].size());
    std::printf("\n");
}

Result<int> prune(const VaultWords& words) {
    TRY_STATUS(refuse_served(words.folder));
    const auto vault = TRY(Vault::open(words.folder, key_source(words.keys)));
    nlohmann::json names = nlohmann::json::array();
    CollectReport total;
    const std::string only = words.name.empty() ? "" : TRY(encode_series(words.name));
    const auto all = TRY(vault->series());
    for (const std::string& series : all) {
        if (!only.empty() && series != only) continue;
        // Segments that names share are looked at once, with the last one.
        const bool segments = !vault->config().dedup || !only.empty() || series == all.back();
        names.push_back(TRY(prune_name(words, vault, series, segments, total)));
        if (!words.json && !words.quiet) print_pruned(names.back(), words.dry_run);
    }
    for (const Error& each : total.left)
        std::fprintf(stderr, "towline vault prune: left as it is: %s\n", each.text().c_str());
    const std::uint64_t freed =
        total.bytes_before - std::min(total.bytes_before, total.bytes_after);
    if (words.json) {
        print_json({{"names", std::move(names)},
                    {"dry_run", words.dry_run},
                    {"bytes_before", total.bytes_before},
                    {"bytes_after", total.bytes_after},
                    {"bytes_freed", freed},
                    {"segments_rewritten", total.segments_rewritten},
                    {"segments_pinned", total.segments_pinned}});
    } else if (!words.quiet && !words.dry_run) {
        std::printf("%s given back\n", bytes_text(freed).c_str());
    }
    if (total.segments_pinned > 0)
        std::fprintf(stderr, "towline vault prune: %s\n", pinned_text(total).c_str());
    return total.left.empty() ? 0 : static_cast<int>(Exit::kCorrupt);
}

// --- words --------------------------------------------------------------------------------------

}  // namespace

CLI::App* add_vault_word(CLI::App& group, const char* name, const char* what,
                         std::function<int()>& run, const std::shared_ptr<VaultWords>& words,
                         VaultPerform perform) {
    CLI::App* command = group.add_subcommand(name, what);
    command->add_option("DIR", words->folder, "the vault's folder")->required();
    command->add_flag("--json", words->json, "one JSON object on standard output");
    command->add_flag("--quiet", words->quiet, "no progress bar and no summary");
    add_key_options(*command, words->keys);
    command->callback([words, perform = std::move(perform), &run] {
        run = [words, perform] {
            const auto done = perform(*words);
            if (done) return *done;
            return report_error("vault", done.error(), words->json);
        };
    });
    return command;
}

void add_vault_command(CLI::App& app, std::function<int()>& run) {
    auto words = std::make_shared<VaultWords>();
    CLI::App* group = app.add_subcommand("vault", "Looks after a vault of recovery points.");
    group->require_subcommand(1);
    CLI::App* made = add_vault_word(*group, "init", "Makes a new vault.", run, words, init);
    made->add_flag("--encrypt", words->encrypt,
                   "seal all that is stored; the key or passphrase is asked for, or named");
    made->add_flag("--dedup", words->dedup,
                   "keep blocks that are equal, of whatever volumes, once");
    made->add_option("--floor-count", words->config.floor_count,
                     "of each name, so many points are deleted by no rule")
        ->type_name("N")
        ->capture_default_str();
    made->add_option("--floor-seconds", words->config.floor_seconds,
                     "a point younger than this is deleted by no rule")
        ->type_name("N")
        ->capture_default_str();
    add_vault_word(*group, "info", "Says what is in a vault.", run, words, info);
    add_vault_scrub_commands(*group, run, words);
    add_vault_key_command(*group, run);
    CLI::App* pruned = add_vault_word(
        *group, "prune", "Deletes points by rule, and gives space back.", run, words, prune);
    pruned->add_option("--name", words->name, "of this name alone")->type_name("NAME");
    pruned->add_option("--keep-last", words->policy.last, "the newest so many points are kept")
        ->type_name("N");
    pruned
        ->add_option("--keep-hourly", words->policy.hourly,
                     "the newest of each of so many hours that have one, too")
        ->type_name("N");
    pruned
        ->add_option("--keep-daily", words->policy.daily,
                     "the newest of each of so many days that have one, too")
        ->type_name("N");
    pruned
        ->add_option("--keep-weekly", words->policy.weekly,
                     "the newest of each of so many weeks that have one, too")
        ->type_name("N");
    pruned
        ->add_option("--keep-monthly", words->policy.monthly,
                     "the newest of each of so many months that have one, too")
        ->type_name("N");
    pruned->add_flag("--dry-run", words->dry_run, "say what would be deleted; change nothing");
}

}  // namespace towline
