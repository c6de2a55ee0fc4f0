// SPDX-License-Identifier: Apache-2.0
// `towline sync`: words to options, a run, and its report for people or (--json) for programs.

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "tools/towline/commands.hpp"
#include "tools/towline/error_report.hpp"
#include "tools/towline/exit_codes.hpp"
#include "tools/towline/interruption.hpp"
#include "tools/towline/key_words.hpp"
#include "tools/towline/moment_words.hpp"
#include "tools/towline/progress_bar.hpp"
#include "tools/towline/report_text.hpp"
#include "tools/towline/sizes.hpp"
#include "transport/wire_format.hpp"
#include "userspace/engine/sync.hpp"

namespace towline {

namespace {

struct SyncWords {
    std::vector<std::string> sources;
    std::string target;
    std::string extents_file;
    KeyWords keys;
    bool scan = false;
    bool full = false;
    bool resume = false;
    bool overwrite = false;
    bool verify = false;
    bool dry_run = false;
    bool direct = false;
    std::string journal;
    bool used_only = false;
    bool json = false;
    bool quiet = false;
    std::string state_dir = "/var/lib/towline";
    std::string block = "64K";
    std::string compress = "auto";
    std::string codec = "auto";
    std::string engine = "auto";
    double rate_mbit = 0;
    unsigned connections = 1;
    double timeout_seconds = 30;
    MomentWords moment;
    unsigned audit_blocks = 256;
    double audit_days = 30;
    double freeze_max_seconds = 10;
    std::string hooks;
    double hook_max_seconds = 60;
};

Duration duration_of(double seconds) {
    return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

Result<std::uint32_t> parse_block(const std::string& text) {
    const auto value = parse_size(text, "--block");
    const bool power = value && *value != 0 && (*value & (*value - 1)) == 0;
    if (!power || *value < wire::kBlockBytesMin || *value > wire::kBlockBytesMax) {
        return fail(Code::kInvalid, "--block " + text + ": a power of two from 4K to 1M");
    }
    return static_cast<std::uint32_t>(*value);
}

Result<std::optional<int>> parse_level(const std::string& text) {
    if (text == "auto") return std::nullopt;
    const bool digits =
        !text.empty() && text.size() <= 2 && std::all_of(text.begin(), text.end(), ::isdigit);
    const int level = digits ? std::stoi(text) : -1;
    if (level < kLevelNone || level > kLevelMax) {
        return fail(Code::kInvalid, "--compress " + text + ": auto, or 0 (none) to 10 (densest)");
    }
    return level;
}

Result<std::string> read_list(const std::string& file) {
    if (file == "-") return std::string(std::istreambuf_iterator<char>(std::cin), {});
    std::ifstream stream(file, std::ios::binary);
    if (!stream) return fail_errno("cannot read the change list " + file);
    return std::string(std::istreambuf_iterator<char>(stream), {});
}

// A path, or NAME=PATH. What is there as it stands is a path, whatever is in it.
Result<std::vector<SourceName>> parse_sources(const std::vector<std::string>& texts) {
    std::vector<SourceName> sources;
    for (const std::string& text : texts) {
        const auto equals = text.find('=');
        struct stat status {};
        const bool named = equals != std::string::npos && text.find('/') > equals &&
                           !text.starts_with("vault:") && ::stat(text.c_str(), &status) != 0;
        if (!named) {
            sources.push_back({.path = text});
            continue;
        }
        sources.push_back({.path = text.substr(equals + 1), .name = text.substr(0, equals)});
        TRY_STATUS(check_part_name(sources.back().name));
    }
    return sources;
}

Result<SyncOptions> make_options(const SyncWords& words) {
    static const std::map<std::string, EngineKind> kEngines{
        {"auto", EngineKind::kAuto}, {"uring", EngineKind::kUring}, {"aio", EngineKind::kAio}};
    static const std::map<std::string, CodecChoice> kCodecs{{"auto", CodecChoice::kAuto},
                                                            {"deflate", CodecChoice::kDeflate},
                                                            {"zstd", CodecChoice::kZstd}};
    SyncOptions options;
    options.sources = TRY(parse_sources(words.sources));
    options.target = words.target;
    options.keys = key_source(words.keys);
    options.state_folder = words.state_dir;
    if (words.full) options.kind = RunRequest::Kind::kFull;
    if (words.scan) options.kind = RunRequest::Kind::kScan;
    if (!words.extents_file.empty()) {
        options.kind = RunRequest::Kind::kExtents;
        options.extents_text = TRY(read_list(words.extents_file));
    }
    options.resume = words.resume;
    options.overwrite = words.overwrite;
    options.verify = words.verify;
    options.dry_run = words.dry_run;
    options.direct = words.direct;
    options.journal_folder = words.journal;
    options.used_only = words.used_only;
    options.block_bytes = TRY(parse_block(words.block));
    options.level = TRY(parse_level(words.compress));
    options.codec = kCodecs.at(words.codec);
    options.engine = kEngines.at(words.engine);
    options.rate_bytes_per_second = static_cast<std::uint64_t>(words.rate_mbit * 1e6 / 8);
    options.connections = words.connections;
    options.silence_max = duration_of(words.timeout_seconds);
    options.moment = *moment_wish(words.moment.tracker, words.moment.snapshot);
    options.snapshot_store_bytes = words.moment.store_bytes();
    options.audit_blocks = words.audit_blocks;
    options.audit_period = std::chrono::duration_cast<Duration>(
        std::chrono::duration<double, std::ratio<86400>>(words.audit_days));
    options.freeze = words.moment.freeze;
    options.freeze_max = duration_of(words.freeze_max_seconds);
    options.hooks_folder = words.hooks;
    options.hook_max = duration_of(words.hook_max_seconds);
    options.cancelled = interrupted;
    return options;
}

// What became of the list of changes when a run failed; nothing where there was none to lose.
std::optional<bool> list_noted(const SyncWords& words, const Error& error, bool noted) {
    const bool given = !words.extents_file.empty() && error.code != Code::kInvalid;
    if (!given || words.dry_run) return std::nullopt;
    return noted;
}

std::string list_text(const Error& error, bool noted) {
    if (noted) return "; the change list was noted: the next run brings it";
    // The remedy of a refusal may be a run that needs no list.
    if (error.code == Code::kRefused) return "; the change list was not noted";
    return "; the change list was not noted yet: give it again";
}

int report_failed_sync(const Error& error, const SyncWords& words, bool noted = false) {
    const auto list = list_noted(words, error, noted);
    const std::string text = error.text() + (list ? list_text(error, *list) : "");
    if (words.json) {
        nlohmann::json object = json_of(error, text);
        if (list) object["error"]["list_noted"] = *list;
        std::printf("%s\n", object.dump(2).c_str());
    }
    std::fprintf(stderr, "towline sync: %s\n", text.c_str());
    return exit_code(error.code);
}

int sync(const SyncWords& words) {
    auto options = make_options(words);
    if (!options) return report_failed_sync(options.error(), words);
    catch_signals();
    ProgressBar bar(!words.quiet);
    bool noted = false;
    options->on_noted = [&noted] { noted = true; };
    options->on_progress = [&bar](const RunProgress& progress) { bar.show(progress); };
    const auto report = run_sync(*options);
    bar.clear();
    if (!report) return report_failed_sync(report.error(), words, noted);
    if (words.json) {
        std::printf("%s\n",
                    json_of(*report, report->volumes.front().path, words.target).dump(2).c_str());
    } else if (!words.quiet) {
        print_summary(*report);
    }
    return 0;
}

void add_snapshot_options(CLI::App& command, SyncWords& words) {
    add_moment_options(command, words.moment);
    command
        .add_option("--audit", words.audit_blocks,
                    "blocks held to be unchanged that are compared all the same; one that differs "
                    "ends the run, and the next one compares everything; 0: none")
        ->type_name("N")
        ->check(CLI::Range(0, 1 << 20))
        ->capture_default_str();
    command
        .add_option("--audit-days", words.audit_days,
                    "days in which all that is held to be unchanged is compared once, a part a "
                    "run; 0: it is not")
        ->type_name("DAYS")
        ->check(CLI::Range(0.0, 3650.0))
        ->capture_default_str();
    command
        .add_option("--freeze-max", words.freeze_max_seconds,
                    "seconds after which filesystems are thawed, whatever happens")
        ->type_name("SECONDS")
        ->check(CLI::Range(0.1, 600.0))
        ->capture_default_str();
    command
        .add_option("--hooks", words.hooks,
                    "folder of the programs pre-snapshot and post-snapshot, run around the moment")
        ->type_name("DIR");
    command.add_option("--hook-timeout", words.hook_max_seconds, "seconds that a hook may take")
        ->type_name("SECONDS")
        ->check(CLI::Range(0.1, 3600.0))
        ->capture_default_str();
}

void add_transfer_options(CLI::App& command, SyncWords& words) {
    command.add_option("--block", words.block, "block size, a power of two from 4K to 1M")
        ->type_name("SIZE")
        ->capture_default_str();
    command
        .add_option("--compress", words.compress,
                    "auto: what the link and the processors are best served by, towards a vault at "
                    "least 3; or 0 (none) to 10 (densest)")
        ->type_name("LEVEL")
        ->capture_default_str();
    command
        .add_option("--codec", words.codec,
                    "what packs; auto: the better one that the target can unpack")
        ->type_name("NAME")
        ->check(CLI::IsMember({"auto", "deflate", "zstd"}))
        ->capture_default_str();
    command.add_option("--rate", words.rate_mbit, "limit on the wire in Mbit/s; 0 is none")
        ->type_name("MBIT")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    command.add_option("--connections", words.connections, "connections of this run")
        ->type_name("N")
        ->check(CLI::Range(1, 16))
        ->capture_default_str();
    command
        .add_option("--engine", words.engine, "how disks are asked; auto: io_uring where it works")
        ->type_name("NAME")
        ->check(CLI::IsMember({"auto", "uring", "aio"}))
        ->capture_default_str();
    command
        .add_option("--timeout", words.timeout_seconds, "seconds that the target may stay silent")
        ->type_name("SECONDS")
        ->check(CLI::Range(2.0, 3600.0))
        ->capture_default_str();
}

void add_options(CLI::App& command, SyncWords& words) {
    // CLI11 gives a list all words that are left: the target is told from them afterwards.
    command
        .add_option("SOURCE", words.sources,
                    "a block device or image file, or NAME=PATH; several become one point of a "
                    "vault. The last word is the TARGET: a path, tcp://HOST:PORT/NAME, "
                    "unix:PATH:/NAME or vault:DIR/NAME")
        ->required()
        ->option_text("... TARGET")
        ->expected(1, static_cast<int>(wire::kVolumesMax) + 1);
    add_key_options(command, words.keys);
    auto* extents =
        command
            .add_option(
                "--extents", words.extents_file,
                "a list of changes, a line each \"OFFSET LENGTH\" in bytes; - is standard input")
            ->type_name("FILE");
    auto* scan =
        command.add_flag("--scan", words.scan, "compare both sides by digests, send what differs");
    auto* full = command.add_flag("--full", words.full, "send everything");
    extents->excludes(scan)->excludes(full);
    scan->excludes(full);
    command.add_flag("--resume", words.resume, "go on with an unfinished run, if there is one");
    command.add_flag("--overwrite", words.overwrite,
                     "the target's data may be replaced, whatever it is");
    command.add_flag("--verify", words.verify,
                     "the target reads back what it wrote before it attests");
    command.add_flag("--used-only", words.used_only,
                     "take for zeros what the filesystem on the source says is free");
    command.add_flag("--dry-run", words.dry_run, "find out what would be sent; change nothing");
    auto* direct = command.add_flag("--direct", words.direct,
                                    "write onto the target at once, not beside it until all is "
                                    "there: cut off, it is between two moments");
    command
        .add_option("--journal", words.journal,
                    "the folder where a target of this host has its run staged; without it beside "
                    "an image, and for a device among the records")
        ->type_name("DIR")
        ->excludes(direct);
    command.add_flag("--json", words.json, "the report as one JSON object on standard output");
    command.add_flag("--quiet", words.quiet, "no progress bar and no summary");
    command.add_option("--state-dir", words.state_dir, "where this host's records are kept")
        ->type_name("DIR")
        ->capture_default_str();
}

}  // namespace

void add_sync_command(CLI::App& app, std::function<int()>& run) {
    auto words = std::make_shared<SyncWords>();
    CLI::App* command = app.add_subcommand("sync", "Brings a volume's changes to a target.");
    add_options(*command, *words);
    add_transfer_options(*command, *words);
    add_snapshot_options(*command, *words);
    command->callback([words, &run] {
        if (words->sources.size() < 2) throw CLI::RequiredError("TARGET");
        words->target = std::move(words->sources.back());
        words->sources.pop_back();
        run = [words] { return sync(*words); };
    });
}

}  // namespace towline
