// SPDX-License-Identifier: Apache-2.0
// `towline mount-image`: serves an image file through a mount that tracks what is written. By
// default the daemon goes to the background once the mount is there; its parent waits for that and
// reports it, so that whoever calls can go on at once.

#include <array>
#include <bit>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "cbt/fuse/fuse_mount.hpp"
#include "cbt/fuse/image_daemon.hpp"
#include "tools/towline/commands.hpp"
#include "tools/towline/exit_codes.hpp"
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

sigset_t ending_signals() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return set;
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
Status run_daemon(const MountWords& words, const DaemonOptions& options,
                  const std::function<void(const std::string&)>& ready) {
    const sigset_t set = ending_signals();
    pthread_sigmask(SIG_BLOCK, &set, nullptr);  // before any thread is made
    const Fd signals(::signalfd(-1, &set, SFD_CLOEXEC));
    if (!signals) return fail_errno("signalfd");
    TRY_STATUS(refuse_used_image(options));
    const Status careful = avoid_reclaim();
    if (!careful) options.log(careful.error().text());
    const auto daemon = TRY(ImageDaemon::start(options));
    ready(report_of(*daemon, options, words.json));
    (void)TRY(daemon->run(signals.get()));
    return {};
}

int report(const Error& error, bool json) {
    std::fprintf(stderr, "towline mount-image: %s\n", error.text().c_str());
    if (json) {
        const nlohmann::json object{{"error",
                                     {{"code", code_name(error.code)},
                                      {"message", error.context},
                                      {"errno", error.system_errno},
                                      {"exit", exit_code(error.code)}}}};
        std::printf("%s\n", object.dump(2).c_str());
    }
    return exit_code(error.code);
}

int in_foreground(const MountWords& words, DaemonOptions options) {
    options.log = [](const std::string& line) {
        std::fprintf(stderr, "towline mount-image: %s\n", line.c_str());
    };
    const Status ended = run_daemon(words, options, [](const std::string& text) {
        std::printf("%s\n", text.c_str());
        std::fflush(stdout);
    });
    return ended ? 0 : report(ended.error(), words.json);
}

// What the daemon told before it closed the pipe.
std::string read_all(int pipe) {
    std::string text;
    std::array<char, 4096> piece{};
    for (;;) {
        const ssize_t got = ::read(pipe, piece.data(), piece.size());
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return text;
        text.append(piece.data(), static_cast<std::size_t>(got));
    }
}

int daemon_process(const MountWords& words, DaemonOptions options, Fd told) {
    ::setsid();
    if (::chdir("/") != 0) return static_cast<int>(Exit::kFailure);
    ::openlog("towline", LOG_PID, LOG_DAEMON);
    options.log = [](const std::string& line) { ::syslog(LOG_WARNING, "%s", line.c_str()); };
    const auto ready = [&](const std::string& text) {
        const std::string line = text + "\n";
        (void)!::write(told.get(), line.data(), line.size());
        const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
        for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
            ::dup2(null.get(), fd);
        told.reset();  // whoever waits goes on
    };
    const Status ended = run_daemon(words, options, ready);
    if (ended) return 0;
    if (told) return report(ended.error(), words.json);
    ::syslog(LOG_ERR, "%s", ended.error().text().c_str());
    return exit_code(ended.error().code);
}

int in_background(const MountWords& words, DaemonOptions options) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0)
        return report(system_error(errno, "making a pipe"), words.json);
    const Fd heard(ends[0]);
    Fd told(ends[1]);
    const pid_t child = ::fork();
    if (child < 0) return report(system_error(errno, "starting the daemon"), words.json);
    if (child == 0) return daemon_process(words, std::move(options), std::move(told));
    told.reset();
    const std::string text = read_all(heard.get());
    std::fputs(text.c_str(), stdout);
    if (!text.empty()) return 0;
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : static_cast<int>(Exit::kFailure);
}

int mount_image(const MountWords& words) {
    auto options = make_options(words);
    if (!options) return report(options.error(), words.json);
    return words.foreground ? in_foreground(words, std::move(*options))
                            : in_background(words, std::move(*options));
}

void add_options(CLI::App& command, MountWords& words) {
    command.add_option("IMAGE", words.image, "the image file")->required();
    command.add_option("MOUNTPOINT", words.mountpoint, "an empty folder; `volume` appears in it")
        ->required();
    command.add_option("--state-dir", words.state_dir, "where the intent log is kept")
        ->capture_default_str();
    command.add_option("--run-dir", words.run_dir, "where the control socket is")
        ->capture_default_str();
    command
        .add_option("--block", words.block_bytes,
                    "granularity, 4K to 1M; by the image's size when it is not given")
        ->transform(CLI::AsSizeValue(false));
    command
        .add_option("--region", words.region_bytes,
                    "what a crash marks around a write, 1M to 64M (default 64M)")
        ->transform(CLI::AsSizeValue(false));
    command.add_option("--store", words.store,
                       "the folder in which snapshots keep what is overwritten (default: the state "
                       "folder)");
    command
        .add_option("--store-size", words.store_bytes,
                    "room for that; a tenth of the image when it is not given")
        ->transform(CLI::AsSizeValue(false));
    command.add_option("--threads", words.threads, "requests that are carried out at once")
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
