// SPDX-License-Identifier: Apache-2.0
// `towline verify`: is a volume what a point says that it was? Both sides are hashed where they
// are; no data is sent, and nothing is changed.

#include <cstdio>

#include <nlohmann/json.hpp>

#include "tools/towline/commands.hpp"
#include "tools/towline/error_report.hpp"
#include "tools/towline/exit_codes.hpp"
#include "tools/towline/interruption.hpp"
#include "tools/towline/key_words.hpp"
#include "tools/towline/progress_bar.hpp"
#include "tools/towline/report_text.hpp"
#include "userspace/engine/sync.hpp"
#include "userspace/vault/volume_reader.hpp"

namespace towline {

namespace {

struct VerifyWords {
    std::string source;
    std::string point;
    std::string volume;
    std::string state_dir = "/var/lib/towline";
    KeyWords keys;
    std::string snapshot = "auto";
    bool json = false;
    bool quiet = false;
};

struct Verdict {
    RunReport report;
    std::uint64_t point_bytes = 0;
    std::string point;

    bool equal() const { return report.bytes_changed == 0 && report.bytes_total == point_bytes; }
};

Result<Verdict> verify(const VerifyWords& words) {
    VaultName name = TRY(VaultName::parse_point(words.point, words.state_dir));
    const KeySource keys = key_source(words.keys);
    // Held from here on: what is compared is what was looked at.
    const OpenPoint point = TRY(OpenPoint::open(name, keys));
    name.point = point.point().id.text();
    const std::size_t place = TRY(find_volume(point.point(), words.volume));
    const PointVolume& volume = point.point().volumes[place];
    ProgressBar bar(!words.quiet);
    SyncOptions options;
    options.sources = {{.path = words.source}};
    options.target = name.text();
    options.keys = keys;
    options.state_folder = words.state_dir;
    options.kind = RunRequest::Kind::kScan;
    options.compare_only = true;
    options.compare_volume = volume.name;
    options.dry_run = true;
    options.overwrite = true;
    options.block_bytes = volume.block_bytes;
    options.moment = *moment_wish("scan", words.snapshot);
    options.cancelled = interrupted;
    options.on_progress = [&bar](const RunProgress& progress) { bar.show(progress); };
    return Verdict{.report = TRY(run_sync(options)),
                   .point_bytes = volume.bytes,
                   .point = point.point().id.text()};
}

void print(const Verdict& verdict, const VerifyWords& words) {
    const std::string volume = human_bytes(static_cast<double>(verdict.report.bytes_total));
    if (verdict.equal()) {
        std::printf("equal: %s of %s, and point %s\n", volume.c_str(), words.source.c_str(),
                    verdict.point.c_str());
    } else {
        std::printf("DIFFERENT: %s of %s, %s bytes against %s of point %s\n",
                    human_bytes(static_cast<double>(verdict.report.bytes_changed)).c_str(),
                    volume.c_str(), std::to_string(verdict.report.bytes_total).c_str(),
                    std::to_string(verdict.point_bytes).c_str(), verdict.point.c_str());
    }
}

int run_verify(const VerifyWords& words) {
    catch_signals();
    const auto verdict = verify(words);
    if (!verdict) return report_error("verify", verdict.error(), words.json);
    if (words.json) {
        std::printf("%s\n", nlohmann::json{{"equal", verdict->equal()},
                                           {"point", verdict->point},
                                           {"bytes_source", verdict->report.bytes_total},
                                           {"bytes_point", verdict->point_bytes},
                                           {"bytes_different", verdict->report.bytes_changed},
                                           {"snapshot", verdict->report.moment.snapshot},
                                           {"seconds", seconds(verdict->report.elapsed)}}
                                .dump(2)
                                .c_str());
    } else if (!words.quiet) {
        print(*verdict, words);
    }
    return verdict->equal() ? 0 : static_cast<int>(Exit::kCorrupt);
}

}  // namespace

void add_verify_command(CLI::App& app, std::function<int()>& run) {
    auto words = std::make_shared<VerifyWords>();
    CLI::App* command = app.add_subcommand("verify", "Compares a volume with a point, by digests.");
    command->add_option("SOURCE", words->source, "a block device or image file")->required();
    command
        ->add_option("POINT", words->point, "vault:DIR/NAME@ID, or tcp://HOST:PORT/vault:NAME@ID")
        ->required();
    add_key_options(*command, words->keys);
    command->add_option("--volume", words->volume, "which one, of a point that has several")
        ->type_name("NAME");
    command
        ->add_option("--snapshot", words->snapshot, "as of sync: what a live source is read from")
        ->type_name("NAME")
        ->check(CLI::IsMember({"auto", "kmod", "fuse", "none"}))
        ->capture_default_str();
    command->add_option("--state-dir", words->state_dir, "where this host's records are kept")
        ->type_name("DIR")
        ->capture_default_str();
    command->add_flag("--json", words->json, "the verdict as one JSON object on standard output");
    command->add_flag("--quiet", words->quiet, "no progress bar and no verdict but the exit code");
    command->callback([words, &run] { run = [words] { return run_verify(*words); }; });
}

}  // namespace towline
