// SPDX-License-Identifier: Apache-2.0
// `towline mount-image`: serves an image file through a mount that tracks what is written.

#include <bit>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "cbt/fuse/fuse_mount.hpp"
#include "cbt/fuse/image_daemon.hpp"
#include "tools/towline/commands.hpp"
#include "tools/towline/service.hpp"
#include "userspace/engine/target_safety.hpp"

namespace towline {

namespace {

struct MountWords {
    std::string image;
    std::string mountpoint;
    std::string state_dir = "/var/lib/towline";
    std::string run_dir = "/run/towline";
    std::string store;
    std::uint64_t store_bytes = 0;
    std::uint64_t block_bytes = 0;
    std::uint64_t region_bytes = 64ULL << 20;
    unsigned threads = 16;
    bool allow_other = false;
    bool takeover = false;
    bool foreground = false;
    bool json = false;
};

bool power_between(std::uint64_t value, std::uint64_t least, std::uint64_t most) {
    return std::has_single_bit(value) && value >= least && value <= most;
}

std::filesystem::path absolute(const std::string& path) {
    return path.empty() ? std::filesystem::path() : std::filesystem::absolute(path);
}

Result<DaemonOptions> make_options(const MountWords& words) {
    if (words.block_bytes != 0 && !power_between(words.block_bytes, 4U << 10, 1U << 20))
        return fail(Code::kInvalid, "--block: a power of two from 4K to 1M");
    if (!power_between(words.region_bytes, 1U << 20, 64U << 20))
        return fail(Code::kInvalid, "--region: a power of two from 1M to 64M");
    DaemonOptions options;
    options.tracking.image = absolute(words.image);
    options.tracking.state_folder = absolute(words.state_dir);
    options.tracking.block_bytes = static_cast<std::uint32_t>(words.block_bytes);
    options.tracking.region_bytes = static_cast<std::uint32_t>(words.region_bytes);
    // The kernel finds a mount by this name later, whatever the working folder is then.
    options.mountpoint = absolute(words.mountpoint).lexically_normal();
    options.run_folder = absolute(words.run_dir);
    options.store_folder = absolute(words.store);
    options.store_bytes = words.store_bytes;
    options.thread_count = words.threads;
    options.allow_other = words.allow_other;
    options.take_over = words.takeover;
    return options;
}

Status refuse_used_image(const DaemonOptions& options) {
    if (options.take_over) return {};
    const Volume image = TRY(Volume::open(options.tracking.image, Access::kRead));
    return refuse_if_in_use(image);
}

std::string_view word_of(Resume resume) {
    switch (resume) {
        case Resume::kFirst:
            return "first";
        case Resume::kExact:
            return "saved";
        case Resume::kSuperset:
            return "crash";
        case Resume::kForeign:
            return "foreign-writes";
        case Resume::kReplaced:
            return "replaced";
        case Resume::kVoid:
            return "log-void";
        case Resume::kDamaged:
            break;
    }
    return "log-damaged";
}

std::string report_of(const ImageDaemon& daemon, const DaemonOptions& options, bool json) {
    const ImageStatus status = daemon.status();
    const std::string image = options.tracking.image.string();
    const std::string volume = (options.mountpoint / "volume").string();
    if (json) {
        return nlohmann::json{{"image", image},
                              {"volume", volume},
                              {"control", daemon.control_path().string()},
                              {"tracker", status.tracker.text()},
                              {"sequence", status.sequence},
                              {"trust", trust_name(status.trust)},
                              {"cause", word_of(daemon.resume())},
                              {"cause_text", resume_text(daemon.resume())},
                              {"block_bytes", status.block_bytes},
                              {"volume_bytes", status.volume_bytes},
                              {"sealed", daemon.sealed()},
                              {"pid", ::getpid()}}
            .dump(2);
    }
    return image + " is served as " + volume + "\ntracker " + status.tracker.text() + ", epoch " +
           std::to_string(status.sequence) + ": " + std::string(resume_text(daemon.resume()));
}

// The daemon itself. `ready` is told once, when the mount is there.
Status run_daemon(const MountWords& words, const ServiceCalls& calls) {
    DaemonOptions options = TRY(make_options(words));
    options.log = calls.log;
    const Fd signals = TRY(ending_signals());
    TRY_STATUS(refuse_used_image(options));
    const Status careful = avoid_reclaim();
    if (!careful) options.log(careful.error().text());
    const auto daemon = TRY(ImageDaemon::start(options));
    calls.ready(report_of(*daemon, options, words.json));
    (void)TRY(daemon->run(signals.get()));
    return {};
}

int mount_image(const MountWords& words) {
    return run_service(
        {.command = "mount-image",
         .foreground = words.foreground,
         .json = words.json,
         .run = [&](const ServiceCalls& calls) { return run_daemon(words, calls); }});
}

void add_options(CLI::App& command, MountWords& words) {
    command.add_option("IMAGE", words.image, "the image file")->required();
    command.add_option("MOUNTPOINT", words.mountpoint, "an empty folder; `volume` appears in it")
        ->required();
    command.add_option("--state-dir", words.state_dir, "where the intent log is kept")
        ->type_name("DIR")
        ->capture_default_str();
    command.add_option("--run-dir", words.run_dir, "where the control socket is")
        ->type_name("DIR")
        ->capture_default_str();
    command
        .add_option(
            "--block", words.block_bytes,
            "granularity, a power of two from 4K to 1M; by the image's size when it is not given")
        ->type_name("SIZE")
        ->transform(CLI::AsSizeValue(false));
    command
        .add_option("--region", words.region_bytes,
                    "what a crash marks around a write, 1M to 64M (default 64M)")
        ->type_name("SIZE")
        ->transform(CLI::AsSizeValue(false));
    command
        .add_option("--store", words.store,
                    "the folder in which snapshots keep what is overwritten (default: the state "
                    "folder)")
        ->type_name("DIR");
    command
        .add_option("--store-size", words.store_bytes,
                    "room for that; a tenth of the image when it is not given")
        ->type_name("SIZE")
        ->transform(CLI::AsSizeValue(false));
    command.add_option("--threads", words.threads, "requests that are carried out at once")
        ->type_name("N")
        ->check(CLI::Range(1, 64))
        ->capture_default_str();
    command.add_flag("--allow-other", words.allow_other, "other users than this one may use it");
    command.add_flag("--takeover", words.takeover,
                     "go on in place of the daemon that serves MOUNTPOINT now");
    command.add_flag("--foreground", words.foreground, "do not go to the background");
    command.add_flag("--json", words.json, "report as one JSON object on standard output");
}

}  // namespace

void add_mount_image_command(CLI::App& app, std::function<int()>& run) {
    auto words = std::make_shared<MountWords>();
    CLI::App* command = app.add_subcommand(
        "mount-image", "Serves an image file through a mount that tracks what is written.");
    add_options(*command, *words);
    command->callback([words, &run] { run = [words] { return mount_image(*words); }; });
}

}  // namespace towline
