// SPDX-License-Identifier: Apache-2.0
// `towline vault`: makes a vault, says what is in it, checks it, and gives space back. Names are
// looked after one by one: what is wrong with one keeps nobody from the others.

#include <cstdio>
#include <optional>
#include <thread>

#include <nlohmann/json.hpp>

#include "tools/towline/commands.hpp"
#include "tools/towline/error_report.hpp"
#include "tools/towline/exit_codes.hpp"
#include "tools/towline/interruption.hpp"
#include "tools/towline/progress_bar.hpp"
#include "userspace/vault/collector.hpp"
#include "userspace/vault/repair.hpp"
#include "userspace/vault/retention.hpp"
#include "userspace/vault/scrub.hpp"
#include "userspace/vault/scrub_progress.hpp"

namespace towline {

namespace {

struct VaultWords {
    std::string folder;
    bool json = false;
    bool quiet = false;
    bool dry_run = false;
    bool repair = false;
    bool resume = false;
    std::string state_dir = "/var/lib/towline";
    double rate_mbit = 0;
    std::string name;  // prune: of this name alone
    RetentionPolicy policy;
    VaultConfig config;  // init: the floor
};

std::string bytes_text(std::uint64_t bytes) {
    return human_bytes(static_cast<double>(bytes));
}

void print_json(const nlohmann::json& json) {
    std::printf("%s\n", json.dump(2).c_str());
}

// What a long command shows while it works.
class Bar {
  public:
    Bar(const VaultWords& words, std::string stage)
        : bar_(!words.quiet && !words.json), stage_(std::move(stage)), began_(monotonic_now()) {}
    void show(std::uint64_t done, std::uint64_t total) {
        bar_.show({.stage = stage_,
                   .done_bytes = done,
                   .total_bytes = total,
                   .elapsed = monotonic_now() - began_});
    }
    void clear() { bar_.clear(); }

  private:
    ProgressBar bar_;
    std::string stage_;
    Instant began_;
};

// --- init, info ---------------------------------------------------------------------------------

Result<int> init(const VaultWords& words) {
    TRY_STATUS(Vault::init(words.folder, words.config));
    const auto vault = TRY(Vault::open(words.folder));
    if (words.json) print_json({{"vault", vault->id().text()}, {"folder", words.folder}});
    if (!words.json && !words.quiet)
        std::printf("a new vault in %s; use it as vault:%s/NAME\n", words.folder.c_str(),
                    words.folder.c_str());
    return 0;
}

struct SeriesFacts {
    std::string name;
    SeriesState state;
    std::uint64_t index_bytes = 0;
    std::uint64_t segment_bytes = 0;
};

Result<SeriesFacts> facts_of(const std::shared_ptr<Vault>& vault, const std::string& series) {
    using vault_format::ObjectKind;
    SeriesFacts facts{.name = decode_series(series), .state = {}};
    facts.state = TRY(SeriesLog(vault, series).read());
    for (const auto& each : TRY(vault->store().list(object_folder(ObjectKind::kIndex, series))))
        facts.index_bytes += each.bytes;
    for (const auto& each : TRY(vault->store().list(object_folder(ObjectKind::kSegment, series))))
        facts.segment_bytes += each.bytes;
    return facts;
}

nlohmann::json json_of(const SeriesFacts& facts) {
    const Point* newest = facts.state.newest();
    nlohmann::json json{{"name", facts.name},
                        {"points", facts.state.points.size()},
                        {"damaged_entries", facts.state.damaged.size()},
                        {"unfinished_run", facts.state.unfinished() != nullptr},
                        {"index_bytes", facts.index_bytes},
                        {"segment_bytes", facts.segment_bytes}};
    if (newest != nullptr) {
        json["newest"] = {{"id", newest->id.text()}, {"created_at", newest->created_at}};
        json["volume_bytes"] = newest->volumes.front().bytes;
    }
    return json;
}

Result<int> info(const VaultWords& words) {
    const auto vault = TRY(Vault::open(words.folder));
    nlohmann::json names = nlohmann::json::array();
    std::uint64_t bytes = 0;
    std::string table;
    for (const std::string& series : TRY(vault->series())) {
        const SeriesFacts facts = TRY(facts_of(vault, series));
        bytes += facts.index_bytes + facts.segment_bytes;
        names.push_back(json_of(facts));
        const Point* newest = facts.state.newest();
        char line[512];
        std::snprintf(line, sizeof line, "%-24s %6zu  %-20s %12s %12s%s\n", facts.name.c_str(),
                      facts.state.points.size(),
                      newest == nullptr ? "-" : newest->created_at.c_str(),
                      newest == nullptr ? "-" : bytes_text(newest->volumes.front().bytes).c_str(),
                      bytes_text(facts.index_bytes + facts.segment_bytes).c_str(),
                      facts.state.unfinished() == nullptr ? "" : "  (a run is unfinished)");
        table += line;
    }
    if (words.json) {
        print_json({{"vault", vault->id().text()},
                    {"created_at", vault->config().created_at},
                    {"floor_count", vault->config().floor_count},
                    {"floor_seconds", vault->config().floor_seconds},
                    {"bytes", bytes},
                    {"names", std::move(names)}});
        return 0;
    }
    std::printf("vault %s, made %s, %s\n", vault->id().text().c_str(),
                vault->config().created_at.c_str(), bytes_text(bytes).c_str());
    std::printf("%-24s %6s  %-20s %12s %12s\n%s", "NAME", "POINTS", "NEWEST", "VOLUME", "STORED",
                table.c_str());
    return 0;
}

// --- scrub, check -------------------------------------------------------------------------------

nlohmann::json json_of(const ScrubFinding& finding) {
    nlohmann::json hits = nlohmann::json::array();
    for (const auto& hit : finding.hits) {
        nlohmann::json ranges = nlohmann::json::array();
        for (const Extent& each : hit.bytes)
            ranges.push_back({{"offset", each.offset_bytes}, {"length", each.length_bytes}});
        hits.push_back({{"point", hit.name}, {"bytes", std::move(ranges)}});
    }
    return {{"object", finding.object}, {"what", finding.what}, {"points", std::move(hits)}};
}

void print(const ScrubFinding& finding) {
    std::printf("BAD  %s: %s\n", finding.object.c_str(), finding.what.c_str());
    for (const auto& hit : finding.hits) {
        std::printf("     %s: %s cannot be read:", hit.name.c_str(),
                    bytes_text(total_bytes(hit.bytes)).c_str());
        static constexpr std::size_t kShown = 4;
        for (std::size_t i = 0; i < hit.bytes.size() && i < kShown; ++i)
            std::printf(" %llu+%llu", static_cast<unsigned long long>(hit.bytes[i].offset_bytes),
                        static_cast<unsigned long long>(hit.bytes[i].length_bytes));
        std::printf("%s\n", hit.bytes.size() > kShown ? " ..." : "");
    }
}

Result<int> scrub(const VaultWords& words, bool blocks) {
    const auto vault = TRY(Vault::open(words.folder));
    catch_signals();
    std::optional<ScrubProgress> progress;
    if (blocks) {
        auto opened = ScrubProgress::open(
            std::filesystem::absolute(words.state_dir) / "scrubs" / vault->id().text(),
            words.resume);
        // Where nothing can be noted, a scrub can still be made.
        if (!opened && words.resume) return std::unexpected(opened.error());
        if (opened) progress = std::move(*opened);
    }
    Bar bar(words, blocks ? "Scrub" : "Check");
    const Instant began = monotonic_now();
    Scrub::Options options{
        .blocks = blocks,
        .bytes_per_second = static_cast<std::uint64_t>(words.rate_mbit * 1e6 / 8),
        .threads = std::max(1U, std::thread::hardware_concurrency()),
        .progress = [&](std::uint64_t done, std::uint64_t total) { bar.show(done, total); },
        .cancelled = interrupted};
    if (progress) {
        options.sound_before = progress->sound_before();
        options.on_sound = [&](const std::string& object) { progress->add(object); };
    }
    auto done = Scrub(vault, std::move(options)).run();
    bar.clear();
    const ScrubReport report = TRY(std::move(done));
    if (progress) progress->finish();
    const double elapsed = seconds(monotonic_now() - began);
    if (words.json) {
        nlohmann::json findings = nlohmann::json::array();
        for (const ScrubFinding& each : report.findings)
            findings.push_back(json_of(each));
        print_json({{"sound", report.sound()},
                    {"objects", report.objects},
                    {"bytes", report.bytes},
                    {"bytes_resumed", report.resumed_bytes},
                    {"blocks", report.blocks},
                    {"points", report.points},
                    {"garbage_bytes", report.garbage_bytes},
                    {"seconds", elapsed},
                    {"findings", std::move(findings)}});
    } else {
        for (const ScrubFinding& each : report.findings)
            print(each);
        std::printf(
            "%s: %llu points, %llu objects, %s in %.2f s; %s can be given back by prune\n",
            report.sound() ? "sound" : "NOT SOUND", static_cast<unsigned long long>(report.points),
            static_cast<unsigned long long>(report.objects), bytes_text(report.bytes).c_str(),
            elapsed, bytes_text(report.garbage_bytes).c_str());
    }
    return report.sound() ? 0 : static_cast<int>(Exit::kCorrupt);
}

Result<int> check(const VaultWords& words) {
    if (!words.repair) return scrub(words, false);
    const auto vault = TRY(Vault::open(words.folder));
    for (const std::string& series : TRY(vault->series())) {
        const RepairReport report = TRY(repair_log(vault, series));
        for (const std::string& each : report.set_aside)
            std::fprintf(stderr, "towline vault: set aside in quarantine/: %s\n", each.c_str());
        if (!report.forgotten_points.empty()) {
            std::fprintf(stderr, "towline vault: %zu points of %s are lost with their entries\n",
                         report.forgotten_points.size(), decode_series(series).c_str());
        }
    }
    return scrub(words, false);
}

// --- prune --------------------------------------------------------------------------------------

Result<nlohmann::json> prune_name(const VaultWords& words, const std::shared_ptr<Vault>& vault,
                                  const std::string& series, CollectReport& total) {
    const SeriesState state = TRY(SeriesLog(vault, series).read());
    const Point* newest = state.newest();
    const VaultClock now = now_on_this_host(newest == nullptr ? VaultClock{} : newest->clock);
    const RetentionDecision decision =
        decide_retention(words.policy, vault->config(), state.points, now.seconds);
    DeleteReport report{.deleted = decision.deleted, .pinned = {}};
    if (!words.dry_run) {
        Bar bar(words, "Prune");
        Collector collector(vault, series, {.progress = [&](std::uint64_t done, std::uint64_t all) {
                                bar.show(done, all);
                            }});
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
    const auto vault = TRY(Vault::open(words.folder));
    nlohmann::json names = nlohmann::json::array();
    CollectReport total;
    const std::string only = words.name.empty() ? "" : TRY(encode_series(words.name));
    for (const std::string& series : TRY(vault->series())) {
        if (!only.empty() && series != only) continue;
        names.push_back(TRY(prune_name(words, vault, series, total)));
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
                    {"segments_rewritten", total.segments_rewritten}});
    } else if (!words.quiet && !words.dry_run) {
        std::printf("%s given back\n", bytes_text(freed).c_str());
    }
    return total.left.empty() ? 0 : static_cast<int>(Exit::kCorrupt);
}

// --- words --------------------------------------------------------------------------------------

using Perform = std::function<Result<int>(const VaultWords&)>;

CLI::App* add(CLI::App& group, const char* name, const char* what, std::function<int()>& run,
              const std::shared_ptr<VaultWords>& words, Perform perform) {
    CLI::App* command = group.add_subcommand(name, what);
    command->add_option("DIR", words->folder, "the vault's folder")->required();
    command->add_flag("--json", words->json, "one JSON object on standard output");
    command->add_flag("--quiet", words->quiet, "no progress bar and no summary");
    command->callback([words, perform = std::move(perform), &run] {
        run = [words, perform] {
            const auto done = perform(*words);
            if (done) return *done;
            return report_error("vault", done.error(), words->json);
        };
    });
    return command;
}

}  // namespace

void add_vault_command(CLI::App& app, std::function<int()>& run) {
    auto words = std::make_shared<VaultWords>();
    CLI::App* group = app.add_subcommand("vault", "Looks after a vault of recovery points.");
    group->require_subcommand(1);
    CLI::App* made = add(*group, "init", "Makes a new vault.", run, words, init);
    made->add_option("--floor-count", words->config.floor_count,
                     "points of each name that no retention deletes")
        ->capture_default_str();
    made->add_option("--floor-seconds", words->config.floor_seconds,
                     "no retention deletes a point younger than this")
        ->capture_default_str();
    add(*group, "info", "Says what is in a vault.", run, words, info);
    CLI::App* scrubbed = add(*group, "scrub", "Reads and checks every stored byte.", run, words,
                             [](const VaultWords& w) { return scrub(w, true); });
    scrubbed->add_flag("--resume", words->resume,
                       "go on where a scrub that was interrupted had come to");
    scrubbed->add_option("--state-dir", words->state_dir, "where it is noted how far it has come")
        ->capture_default_str();
    scrubbed->add_option("--rate", words->rate_mbit, "limit in Mbit/s; 0 is none")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    CLI::App* checked =
        add(*group, "check", "Checks all but the blocks themselves.", run, words, check);
    checked->add_flag("--repair", words->repair,
                      "set damaged log entries aside, so that their name can be written to again");
    CLI::App* pruned =
        add(*group, "prune", "Deletes points by rule, and gives space back.", run, words, prune);
    pruned->add_option("--name", words->name, "of this name alone");
    pruned->add_option("--keep-last", words->policy.last, "the newest so many points");
    pruned->add_option("--keep-hourly", words->policy.hourly, "one of each of so many hours");
    pruned->add_option("--keep-daily", words->policy.daily, "one of each of so many days");
    pruned->add_option("--keep-weekly", words->policy.weekly, "one of each of so many weeks");
    pruned->add_option("--keep-monthly", words->policy.monthly, "one of each of so many months");
    pruned->add_flag("--dry-run", words->dry_run, "say what would be deleted; change nothing");
}

}  // namespace towline
