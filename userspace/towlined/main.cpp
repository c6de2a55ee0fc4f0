// SPDX-License-Identifier: Apache-2.0
// The daemon: configuration, jobs, the API on its socket. The main thread keeps the schedule;
// SIGTERM and SIGINT end it in order, and what was going on goes on with the next one.

#include <csignal>
#include <cstdio>
#include <pthread.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <thread>

#include <CLI/CLI.hpp>

#include "userspace/command_line/manual_page.hpp"
#include "userspace/control/api.hpp"
#include "userspace/control/control_socket.hpp"
#include "userspace/control/daemon_config.hpp"
#include "userspace/control/daemon_log.hpp"
#include "userspace/control/http_server.hpp"
#include "userspace/control/metrics.hpp"
#include "userspace/control/metrics_port.hpp"
#include "userspace/control/notifier.hpp"

namespace towline {

namespace {

constexpr const char* kConfigDefault = "/etc/towline/towlined.toml";

struct Words {
    std::string config;
    std::string state_dir;
    std::string run_dir;
    std::string socket;
    bool check = false;
};

sigset_t ending_signals() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return set;
}

Result<DaemonConfig> configure(const Words& words) {
    DaemonConfig config;
    if (!words.config.empty()) {
        config = TRY(DaemonConfig::read(words.config));
    } else if (std::filesystem::exists(kConfigDefault)) {
        config = TRY(DaemonConfig::read(kConfigDefault));
    }
    if (!words.state_dir.empty()) config.places.state_folder = words.state_dir;
    if (!words.run_dir.empty()) config.places.run_folder = words.run_dir;
    if (!words.socket.empty()) config.socket = words.socket;
    return config;
}

// A run has a dozen descriptors open, and what one may have at first is meant for programs that use
// select.
void raise_open_files() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

// Waits for a signal on a thread of its own, until the daemon ends by itself.
class Ender {
  public:
    explicit Ender(JobService& service)
        : thread_([&service] {
              const sigset_t set = ending_signals();
              int received = 0;
              sigwait(&set, &received);
              service.stop();
          }) {}
    ~Ender() {
        // It waits for the signal, and takes it.
        // NOLINTNEXTLINE(bugprone-bad-signal-to-kill-thread)
        pthread_kill(thread_.native_handle(), SIGTERM);
        thread_.join();
    }
    Ender(const Ender&) = delete;
    Ender& operator=(const Ender&) = delete;

  private:
    std::thread thread_;
};

Status serve(const DaemonConfig& config) {
    const sigset_t set = ending_signals();
    pthread_sigmask(SIG_BLOCK, &set, nullptr);  // before any thread: all inherit it
    auto service = TRY(JobService::open(
        {.places = config.places, .limits = config.limits, .keep = config.keep, .log = log_event}));
    const ControlSocket socket = TRY(ControlSocket::open(config.socket, config.group));
    Api api(*service, TOWLINE_VERSION);
    const auto server =
        TRY(HttpServer::start(socket.fd(), config.roles,
                              [&](const HttpRequest& request) { return api.answer(request); }));
    std::unique_ptr<HttpServer> metrics;
    if (config.metrics_port != 0) {
        metrics = TRY(serve_metrics(config.metrics_port,
                                    [&] { return metrics_text(*service, TOWLINE_VERSION); }));
        log_text("metrics are on 127.0.0.1:" + std::to_string(config.metrics_port));
    }
    const Notifier notifier(*service);
    const Ender ender(*service);
    log_text("listening on " + config.socket.string());
    ::sd_notify(0, "READY=1");
    const Status ran = service->run([&] {
        ::sd_notify(0, "WATCHDOG=1");
        server->cut_off_slow();
        if (metrics) metrics->cut_off_slow();
    });
    ::sd_notify(0, "STOPPING=1");
    service->stop();
    return ran;
}

int run(const Words& words) {
    // A peer that goes away is an error of the connection, not the end of the process.
    std::signal(SIGPIPE, SIG_IGN);
    raise_open_files();
    const auto config = configure(words);
    if (!config) {
        std::fprintf(stderr, "towlined: %s\n", config.error().text().c_str());
        return 2;
    }
    if (words.check) {
        std::printf("the configuration is good\n");
        return 0;
    }
    const Status served = serve(*config);
    if (served) return 0;
    log_text(served.error().text());
    return 1;
}

}  // namespace

}  // namespace towline

int main(int argc, char** argv) {
    towline::Words words;
    CLI::App app{"Keeps Towline's jobs: runs them when they are due, and answers on its socket."};
    app.name("towlined");
    app.set_version_flag("--version", "towlined " TOWLINE_VERSION);
    app.add_option(
           "--config", words.config,
           std::string("the configuration (default: ") + towline::kConfigDefault + ", if there)")
        ->type_name("FILE");
    app.add_option("--state-dir", words.state_dir, "where its state is kept")->type_name("DIR");
    app.add_option("--run-dir", words.run_dir, "where the sockets of tracked mounts are")
        ->type_name("DIR");
    app.add_option("--socket", words.socket,
                   "where it listens; what an ended daemon left there is replaced")
        ->type_name("PATH");
    app.add_flag("--check-config", words.check, "read the configuration, say what is wrong, end");
    towline::add_manual_flag(app);
    app.footer("Manual: towlined(8).");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& problem) {
        return app.exit(problem) == 0 ? 0 : 2;
    }
    return towline::run(words);
}
