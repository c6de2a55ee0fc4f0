// SPDX-License-Identifier: Apache-2.0
// `towline point mount`: a recovery point as files.

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "tools/towline/key_words.hpp"
#include "tools/towline/point_commands.hpp"
#include "tools/towline/service.hpp"
#include "userspace/vault/point_mount.hpp"

namespace towline {

namespace {

struct PointMountWords {
    std::string point;
    std::string mountpoint;
    KeyWords keys;
    std::string state_dir = "/var/lib/towline";
    std::uint64_t cache_bytes = std::uint64_t{64} << 20;
    unsigned threads = 8;
    std::string scratch = "/var/tmp";
    bool overlay = false;
    bool allow_other = false;
    bool foreground = false;
    bool json = false;
};

Result<PointMountOptions> make_options(const PointMountWords& words) {
    PointMountOptions options;
    options.point = TRY(VaultName::parse_point(words.point, words.state_dir));
    options.mountpoint = std::filesystem::absolute(words.mountpoint).lexically_normal();
    options.cache.cache_bytes = words.cache_bytes;
    options.thread_count = words.threads;
    options.allow_other = words.allow_other;
    if (words.overlay) options.scratch = std::filesystem::absolute(words.scratch);
    return options;
}

std::string report_of(PointMount& mount, const PointMountOptions& options, bool json) {
    nlohmann::json volumes = nlohmann::json::array();
    std::string text = "point " + mount.point().id.text() + " of " + mount.point().created_at;
    for (const PointFolder::File& each : mount.folder().files()) {
        const std::string path = (options.mountpoint / each.name).string();
        volumes.push_back(
            {{"name", each.name}, {"path", path}, {"bytes", each.volume->volume().size_bytes()}});
        text += "\n" + path;
    }
    if (!json) return text;
    return nlohmann::json{{"point", mount.point().id.text()},
                          {"created_at", mount.point().created_at},
                          {"volumes", std::move(volumes)},
                          {"overlay", !options.scratch.empty()},
                          {"pid", ::getpid()}}
        .dump(2);
}

Status mount_point(const PointMountWords& words, const KeySource& keys, const ServiceCalls& calls) {
    PointMountOptions options = TRY(make_options(words));
    options.keys = keys;
    options.log = calls.log;
    const Fd signals = TRY(ending_signals());
    const auto mount = TRY(PointMount::start(options));
    calls.ready(report_of(*mount, options, words.json));
    return mount->run(signals.get());
}

}  // namespace

void add_point_mount_command(CLI::App& group, std::function<int()>& run) {
    auto words = std::make_shared<PointMountWords>();
    CLI::App* command =
        group.add_subcommand("mount", "Shows a point as files: one a volume, read-only.");
    command->add_option("POINT", words->point, "vault:DIR/NAME@ID")->required();
    command->add_option("DIR", words->mountpoint, "an empty folder")->required();
    add_key_options(*command, words->keys);
    add_records_option(*command, words->state_dir);
    command
        ->add_option("--cache", words->cache_bytes,
                     "memory for blocks that were read (default 64M)")
        ->type_name("SIZE")
        ->transform(CLI::AsSizeValue(false));
    command->add_option("--threads", words->threads, "requests that are carried out at once")
        ->type_name("N")
        ->check(CLI::Range(1, 64))
        ->capture_default_str();
    CLI::Option* overlay = command->add_flag(
        "--overlay", words->overlay,
        "it can be written to; what is written is kept until it is unmounted, then dropped");
    command
        ->add_option("--scratch", words->scratch,
                     "the folder in which it is kept meanwhile, in a nameless file")
        ->type_name("DIR")
        ->needs(overlay)
        ->capture_default_str();
    command->add_flag("--allow-other", words->allow_other, "other users than this one may read it");
    command->add_flag("--foreground", words->foreground, "do not go to the background");
    command->add_flag("--json", words->json, "report as one JSON object on standard output");
    command->callback([words, &run] {
        run = [words] {
            // The terminal is left behind with the foreground.
            const KeySource keys = key_source(words->keys);
            return run_service({.command = "point mount",
                                .foreground = words->foreground,
                                .json = words->json,
                                .run = [&](const ServiceCalls& calls) {
                                    return mount_point(*words, keys, calls);
                                }});
        };
    });
}

}  // namespace towline
