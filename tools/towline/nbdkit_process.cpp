// SPDX-License-Identifier: Apache-2.0
// nbdkit in the foreground, as a child. The socket is made, and removed, by its parent, and handed
// over as systemd hands over one, so that clients may come before the plugin is ready. That it is
// ready is told through a pipe, which the plugin writes to when the point is open. What a person
// was asked for goes through another pipe, since words and environments can be seen by others.

#include "tools/towline/nbdkit_process.hpp"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/program.hpp"

namespace towline {

namespace {

namespace fs = std::filesystem;

// In the child. The first is where systemd's protocol has the first socket.
constexpr int kSocketFd = 3;
constexpr int kReadyFd = 4;
constexpr int kPassphraseFd = 5;
constexpr int kFirstFreeFd = 10;
// nbdkit ends when each of its clients has sent something more. What it has of them is lost with it
// anyway, so one that is silent is waited for no longer than this.
constexpr int kGraceMs = 2000;

struct Pipe {
    Fd out, in;
};

Result<Pipe> make_pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno("making a pipe");
    return Pipe{Fd(ends[0]), Fd(ends[1])};
}

// A pipe that has it, and ends behind it. It fits: a pipe holds 64 KiB, a line of a terminal 4.
Result<Fd> pipe_with(const Secret& secret) {
    if (secret.empty()) return Fd();
    Pipe pipe = TRY(make_pipe());
    const ByteSpan bytes = secret.bytes();
    if (::write(pipe.in.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
        return fail_errno("handing over the passphrase");
    return std::move(pipe.out);
}

std::vector<std::string> command_line(const NbdkitPrograms& programs, const NbdkitWords& words) {
    // A request at a time of a connection: with more, nbdkit 1.32 aborts, and takes all clients
    // with it, when one goes away whose requests are being served. Connections are served side by
    // side.
    std::vector<std::string> line{programs.server, "--foreground", "--exit-with-parent",
                                  "--threads=1"};
    if (words.read_only) line.emplace_back("--readonly");
    line.push_back(programs.plugin);
    line.insert(line.end(), words.plugin_words.begin(), words.plugin_words.end());
    line.push_back("ready=" + std::to_string(kReadyFd));
    if (!words.passphrase.empty())
        line.push_back("passphrase-file=/dev/fd/" + std::to_string(kPassphraseFd));
    return line;
}

// --- in the child, which is this process's only thread ------------------------------------------

// Descriptors first go where none of the wanted numbers is, then to them.
bool place_files(std::initializer_list<std::pair<int, int>> wanted) {
    std::vector<std::pair<int, int>> aside;
    for (const auto& [from, to] : wanted)
        if (from >= 0) aside.emplace_back(::fcntl(from, F_DUPFD_CLOEXEC, kFirstFreeFd), to);
    return std::ranges::all_of(aside, [](const auto& each) {
        return each.first >= 0 && ::dup2(each.first, each.second) >= 0;
    });
}

[[noreturn]] void become(std::vector<std::string> line, int socket, int ready, int passphrase) {
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, nullptr);
    std::vector<char*> words;
    words.reserve(line.size() + 1);
    for (std::string& each : line)
        words.push_back(each.data());
    words.push_back(nullptr);
    const std::string self = std::to_string(::getpid());
    // NOLINTBEGIN(concurrency-mt-unsafe): there is one thread
    ::setenv("LISTEN_FDS", "1", 1);
    ::setenv("LISTEN_PID", self.c_str(), 1);
    ::unsetenv("LISTEN_FDNAMES");
    // NOLINTEND(concurrency-mt-unsafe)
    if (place_files({{socket, kSocketFd}, {ready, kReadyFd}, {passphrase, kPassphraseFd}}))
        ::execv(words.front(), words.data());
    ::_exit(127);
}

std::string how_it_ended(int status) {
    if (WIFSIGNALED(status)) return "was ended by signal " + std::to_string(WTERMSIG(status));
    return "ended by itself, with exit code " + std::to_string(WEXITSTATUS(status));
}

}  // namespace

Result<NbdkitPrograms> NbdkitPrograms::find() {
    std::error_code error;
    const fs::path self = fs::read_symlink("/proc/self/exe", error);
    const fs::path plugin =
        self.parent_path().parent_path() / "lib/towline/nbdkit-towline-plugin.so";
    if (error || !fs::exists(plugin, error)) {
        return fail(Code::kUnsupported,
                    "this build has no plugin for nbdkit (" + plugin.string() +
                        "): install nbdkit-plugin-dev, and build Towline again; "
                        "`towline point mount` does without");
    }
    auto server = find_program("nbdkit");
    if (!server) {
        server.error().context +=
            "; install it (apt-get install nbdkit), or use: towline point "
            "mount";
        return std::unexpected(server.error());
    }
    return NbdkitPrograms{std::move(*server), plugin.string()};
}

Result<NbdkitProcess> NbdkitProcess::start(const NbdkitPrograms& programs, const NbdkitWords& words,
                                           const Listener& listener) {
    Pipe ready = TRY(make_pipe());
    Fd passphrase = TRY(pipe_with(words.passphrase));
    std::vector<std::string> line = command_line(programs, words);
    const pid_t pid = ::fork();
    if (pid < 0) return fail_errno("starting nbdkit");
    if (pid == 0) become(std::move(line), listener.fd(), ready.in.get(), passphrase.get());
    NbdkitProcess process(pid, Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))));
    ready.in.reset();
    passphrase.reset();
    if (!process.ended_) return fail_errno("watching nbdkit");
    char told = 0;
    ssize_t got = 0;
    do
        got = ::read(ready.out.get(), &told, 1);
    while (got < 0 && errno == EINTR);
    if (got == 1) return process;
    return fail(Code::kIo, "nbdkit " + how_it_ended(process.wait()) +
                               " before it served the point; what it said stands above");
}

NbdkitProcess::NbdkitProcess(NbdkitProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), ended_(std::move(other.ended_)) {}

NbdkitProcess::~NbdkitProcess() {
    if (pid_ < 0) return;
    ::kill(pid_, SIGTERM);
    wait();
}

int NbdkitProcess::wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
}

Status NbdkitProcess::run(int signals) {
    for (bool asked = false;;) {
        struct pollfd waited[2]{{ended_.get(), POLLIN, 0}, {signals, POLLIN, 0}};
        const int came = ::poll(waited, 2, asked ? kGraceMs : -1);
        if (came < 0 && errno != EINTR) return fail_errno("waiting for nbdkit");
        // A terminal's signal goes to both, and then it is no surprise that nbdkit has ended.
        if (came >= 0 && waited[1].revents != 0) {
            struct signalfd_siginfo signal {};
            (void)!::read(signals, &signal, sizeof signal);
            ::kill(pid_, asked ? SIGKILL : SIGTERM);
            asked = true;
        }
        if (came == 0) ::kill(pid_, SIGKILL);
        if (came <= 0 || waited[0].revents == 0) continue;
        const int status = wait();
        if (asked) return {};
        return fail(Code::kIo, "nbdkit " + how_it_ended(status) + "; serve the point again");
    }
}

}  // namespace towline
