// SPDX-License-Identifier: Apache-2.0
// By default a service goes to the background once it serves; its parent waits for that and reports
// it, so that whoever calls can go on at once.

#include "tools/towline/service.hpp"

#include <array>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include "tools/towline/error_report.hpp"
#include "tools/towline/exit_codes.hpp"

namespace towline {

namespace {

int report(const Service& service, const Error& error) {
    return report_error(service.command, error, service.json);
}

int in_foreground(const Service& service) {
    const auto log = [&](const std::string& line) {
        std::fprintf(stderr, "towline %s: %s\n", service.command.c_str(), line.c_str());
    };
    const auto ready = [](const std::string& text) {
        std::printf("%s\n", text.c_str());
        std::fflush(stdout);
    };
    const Status ended = service.run({.log = log, .ready = ready});
    return ended ? 0 : report(service, ended.error());
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

int daemon_process(const Service& service, Fd told) {
    ::setsid();
    ::openlog("towline", LOG_PID, LOG_DAEMON);
    const auto log = [](const std::string& line) { ::syslog(LOG_WARNING, "%s", line.c_str()); };
    const auto ready = [&](const std::string& text) {
        (void)!::chdir("/");  // it keeps no folder in use; relative names were resolved before
        const std::string line = text + "\n";
        (void)!::write(told.get(), line.data(), line.size());
        const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
        for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
            ::dup2(null.get(), fd);
        told.reset();  // whoever waits goes on
    };
    const Status ended = service.run({.log = log, .ready = ready});
    if (ended) return 0;
    if (told) return report(service, ended.error());
    ::syslog(LOG_ERR, "%s", ended.error().text().c_str());
    return exit_code(ended.error().code);
}

int in_background(const Service& service) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return report(service, system_error(errno, "making a pipe"));
    const Fd heard(ends[0]);
    Fd told(ends[1]);
    const pid_t child = ::fork();
    if (child < 0) return report(service, system_error(errno, "starting the daemon"));
    if (child == 0) return daemon_process(service, std::move(told));
    told.reset();
    const std::string text = read_all(heard.get());
    std::fputs(text.c_str(), stdout);
    if (!text.empty()) return 0;
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : static_cast<int>(Exit::kFailure);
}

}  // namespace

int run_service(const Service& service) {
    return service.foreground ? in_foreground(service) : in_background(service);
}

Result<Fd> ending_signals() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    Fd signals(::signalfd(-1, &set, SFD_CLOEXEC));
    if (!signals) return fail_errno("signalfd");
    return signals;
}

}  // namespace towline
