// SPDX-License-Identifier: Apache-2.0
// `towline restore` and `towline export`: a recovery point onto a volume, or into a file. Restoring
// is a run from the point to the target, with all that a run refuses and checks.

#include <algorithm>
#include <cstdio>
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "tools/towline/commands.hpp"
#include "tools/towline/error_report.hpp"
#include "tools/towline/interruption.hpp"
#include "tools/towline/key_words.hpp"
#include "tools/towline/progress_bar.hpp"
#include "tools/towline/report_text.hpp"
#include "tools/towline/restore_growth.hpp"
#include "transport/address.hpp"
#include "userspace/engine/sync.hpp"
#include "userspace/vault/point_export.hpp"
#include "userspace/vault/point_source.hpp"

namespace towline {

namespace {

struct RestoreWords {
    std::string point;
    std::string target;
    KeyWords keys;
    std::string volume;
    std::string format = "raw";
    std::string state_dir = "/var/lib/towline";
    double rate_mbit = 0;
    std::uint64_t grow_bytes = 0;  // of an export; 0: as long as the volume
    bool grow = false;
    bool overwrite = false;
    bool dry_run = false;
    bool direct = false;
    std::string journal;
    bool json = false;
    bool quiet = false;
};

// What was cut off goes on; what was written is read again before it counts.
Result<RunReport> run_restore(const RestoreWords& words, const std::string& target,
                              const KeySource& keys) {
    const VaultName point = TRY(VaultName::parse_point(words.point, words.state_dir));
    const bool elsewhere = TRY(RemoteTarget::parse(target)).has_value();
    if (!elsewhere) TRY_STATUS(refuse_in_vault(point.folder, target));
    ProgressBar bar(!words.quiet);
    SyncOptions options;
    options.sources = {{.path = words.point, .volume = words.volume}};
    options.target = target;
    options.keys = keys;
    options.state_folder = words.state_dir;
    options.resume = true;
    options.verify = true;
    options.overwrite = words.overwrite;
    options.dry_run = words.dry_run;
    options.direct = words.direct;
    options.journal_folder = words.journal;
    options.rate_bytes_per_second = static_cast<std::uint64_t>(words.rate_mbit * 1e6 / 8);
    options.cancelled = interrupted;
    options.on_progress = [&bar](const RunProgress& progress) { bar.show(progress); };
    return run_sync(options);
}

struct Restored {
    RunReport run;
    std::optional<Growth> growth;
};

Result<Restored> restore_point(const RestoreWords& words) {
    const KeySource keys = key_source(words.keys);
    std::optional<GrowthPlan> plan;
    if (words.grow) {
        const VaultName point = TRY(VaultName::parse_point(words.point, words.state_dir));
        plan = TRY(plan_growth_onto({point, words.volume, keys}, words.target));
    }
    Restored restored{.run = TRY(run_restore(words, words.target, keys)), .growth = {}};
    if (plan && !words.dry_run) restored.growth = TRY(grow(words.target, *plan));
    return restored;
}

int restore(const RestoreWords& words) {
    catch_signals();
    const auto restored = restore_point(words);
    if (!restored) return report_error("restore", restored.error(), words.json);
    if (words.json) {
        nlohmann::json json = json_of(restored->run, words.point, words.target);
        if (restored->growth) json["growth"] = json_of(*restored->growth);
        std::printf("%s\n", json.dump(2).c_str());
    } else if (!words.quiet) {
        print_summary(restored->run);
        if (restored->growth) std::printf("%s\n", text_of(*restored->growth).c_str());
    }
    return 0;
}

// --- export -------------------------------------------------------------------------------------

// An export that is cut off from here on is begun anew.
Status grow_file(const std::string& partial, std::uint64_t bytes, const GrowthPlan& plan) {
    if (::truncate(partial.c_str(), static_cast<off_t>(bytes)) != 0)
        return fail_errno("making " + partial + " longer");
    static_cast<void>(TRY(grow(partial, plan)));
    return {};
}

Result<ExportReport> export_raw(const RestoreWords& words) {
    TRY_STATUS(refuse_existing(words.target));
    const VaultName point = TRY(VaultName::parse_point(words.point, words.state_dir));
    TRY_STATUS(refuse_in_vault(point.folder, words.target));
    const KeySource keys = key_source(words.keys);
    std::optional<GrowthPlan> plan;
    if (words.grow_bytes != 0)
        plan = TRY(plan_growth_to({point, words.volume, keys}, words.target, words.grow_bytes));
    const std::string partial = partial_name(words.target).string();
    struct stat status {};
    const bool there = ::lstat(partial.c_str(), &status) == 0;
    auto done = run_restore(words, partial, keys);
    // A run names --overwrite as the remedy; a file that we begin ourselves is better removed.
    if (!done && there && done.error().code == Code::kRefused) {
        return fail(Code::kRefused, partial +
                                        " is there already, and is not what an export of this "
                                        "point left; remove it, and export again");
    }
    const RunReport report = TRY(std::move(done));
    if (plan) TRY_STATUS(grow_file(partial, words.grow_bytes, *plan));
    if (::stat(partial.c_str(), &status) != 0) return fail_errno("looking at " + partial);
    TRY_STATUS(publish(words.target));
    return ExportReport{.point = words.point,
                        .volume_bytes = std::max(report.bytes_total, words.grow_bytes),
                        .file_bytes = static_cast<std::uint64_t>(status.st_blocks) * 512};
}

Result<ExportReport> export_as(const RestoreWords& words) {
    if (words.format == "raw") return export_raw(words);
    if (words.grow_bytes != 0) {
        return fail(Code::kRefused, "--grow makes a raw image; then: qemu-img convert -O qcow2");
    }
    ProgressBar bar(!words.quiet);
    ExportOptions options{.point = TRY(VaultName::parse_point(words.point, words.state_dir)),
                          .volume = words.volume,
                          .file = words.target};
    options.keys = key_source(words.keys);
    options.cancelled = interrupted;
    options.on_progress = [&bar](const RunProgress& progress) { bar.show(progress); };
    return export_qcow2(options);
}

int export_point(const RestoreWords& words) {
    catch_signals();
    const auto report = export_as(words);
    if (!report) return report_error("export", report.error(), words.json);
    if (words.json) {
        std::printf("%s\n", nlohmann::json{{"file", words.target},
                                           {"format", words.format},
                                           {"volume_bytes", report->volume_bytes},
                                           {"file_bytes", report->file_bytes}}
                                .dump(2)
                                .c_str());
    } else if (!words.quiet) {
        std::printf("%s: %s of a volume of %s\n", words.target.c_str(),
                    human_bytes(static_cast<double>(report->file_bytes)).c_str(),
                    human_bytes(static_cast<double>(report->volume_bytes)).c_str());
    }
    return 0;
}

CLI::App* add(CLI::App& app, const char* name, const char* what,
              const std::shared_ptr<RestoreWords>& words) {
    CLI::App* command = app.add_subcommand(name, what);
    command
        ->add_option("POINT", words->point, "vault:DIR/NAME@ID, or tcp://HOST:PORT/vault:NAME@ID")
        ->required();
    add_key_options(*command, words->keys);
    command->add_option("--volume", words->volume, "which one, of a point that has several")
        ->type_name("NAME");
    command->add_flag("--json", words->json, "the report as one JSON object on standard output");
    command->add_flag("--quiet", words->quiet, "no progress bar and no summary");
    command->add_option("--state-dir", words->state_dir, "where this host's records are kept")
        ->type_name("DIR")
        ->capture_default_str();
    return command;
}

}  // namespace

void add_restore_commands(CLI::App& app, std::function<int()>& run) {
    auto words = std::make_shared<RestoreWords>();
    CLI::App* command = add(app, "restore", "Makes a volume what a point says it was.", words);
    command->add_option("TARGET", words->target, "as of sync: a device, an image, tcp://, unix:")
        ->required();
    command->add_flag("--overwrite", words->overwrite,
                      "the target's data may be replaced; what is equal is left as it is");
    command->add_flag("--grow", words->grow,
                      "onto a larger device: then grow the last partition and its filesystem (ext2 "
                      "to ext4, xfs, btrfs) to its end");
    command->add_flag("--dry-run", words->dry_run, "find out what would be sent; change nothing");
    auto* direct = command->add_flag("--direct", words->direct,
                                     "write onto the target at once, not beside it until all is "
                                     "there: cut off, it is between two moments");
    command
        ->add_option("--journal", words->journal,
                     "the folder where a target of this host has its run staged")
        ->type_name("DIR")
        ->excludes(direct);
    command->add_option("--rate", words->rate_mbit, "limit in Mbit/s; 0 is none")
        ->type_name("MBIT")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    command->callback([words, &run] { run = [words] { return restore(*words); }; });

    auto exported = std::make_shared<RestoreWords>();
    command = add(app, "export", "Writes a point into a new file.", exported);
    command->add_option("FILE", exported->target, "a file that is not there yet")->required();
    command->add_option("--format", exported->format, "raw (sparse) or qcow2")
        ->type_name("NAME")
        ->check(CLI::IsMember({"raw", "qcow2"}))
        ->capture_default_str();
    command
        ->add_option("--grow", exported->grow_bytes,
                     "make the raw image this large, and grow the last partition and its "
                     "filesystem to its end")
        ->type_name("SIZE")
        ->transform(CLI::AsSizeValue(false));
    command->callback([exported, &run] { run = [exported] { return export_point(*exported); }; });
}

}  // namespace towline
