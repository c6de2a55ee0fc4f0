// SPDX-License-Identifier: Apache-2.0
// Programs that change the state of a device (lvcreate) hold its writes back for a moment: whoever
// kills one in that moment leaves the device stopped. So each runs in a session of its own, which
// no signal to ours reaches, and its limit asks and does not kill. It must not wait for us either:
// both of its outputs are read until it has ended. The system's own folders are looked through, and
// no PATH that somebody else may have set.

#include "io/program.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <string_view>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/fd.hpp"

namespace towline {

namespace {

constexpr std::array<std::string_view, 4> kFolders{"/usr/sbin", "/usr/bin", "/sbin", "/bin"};
constexpr std::size_t kOutputBytesMax = std::size_t{16} << 20;

std::vector<char*> pointers_to(std::vector<std::string>& words) {
    std::vector<char*> pointers;
    pointers.reserve(words.size() + 1);
    for (std::string& word : words)
        pointers.push_back(word.data());
    pointers.push_back(nullptr);
    return pointers;
}

std::vector<std::string> environment() {
    std::vector<std::string> all;
    for (char** each = environ; *each != nullptr; ++each) {
        const std::string_view entry = *each;
        if (!entry.starts_with("LC_") && !entry.starts_with("LANG")) all.emplace_back(entry);
    }
    all.emplace_back("LC_ALL=C");
    return all;
}

struct Pipe {
    Fd ours, theirs;
};

Result<Pipe> make_pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno("cannot make a pipe");
    return Pipe{Fd(ends[0]), Fd(ends[1])};
}

Result<pid_t> start(const std::string& path, std::vector<std::string> words, int input, int output,
                    int complaints) {
    std::vector<std::string> variables = environment();
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, input, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&files, complaints, STDERR_FILENO);
    pid_t process = -1;
    const int error = ::posix_spawn(&process, path.c_str(), &files, &attributes,
                                    pointers_to(words).data(), pointers_to(variables).data());
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    if (error != 0) return fail_errno(error, "cannot run " + path);
    return process;
}

// False: it has ended.
bool take(Fd& from, std::string& to) {
    char bytes[4096];
    const ssize_t count = ::read(from.get(), bytes, sizeof bytes);
    if (count < 0 && errno == EINTR) return true;
    if (count <= 0) {
        from.reset();
        return false;
    }
    if (to.size() < kOutputBytesMax) to.append(bytes, static_cast<std::size_t>(count));
    return true;
}

// False: the limit came first.
bool read_all(Fd& output, std::string& said, Fd& complaints, std::string& complained,
              Instant limit) {
    while (output || complaints) {
        const Duration left = limit - monotonic_now();
        if (left <= Duration::zero()) return false;
        const auto left_ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
        pollfd waits[] = {{.fd = output.get(), .events = POLLIN, .revents = 0},
                          {.fd = complaints.get(), .events = POLLIN, .revents = 0}};
        if (::poll(waits, 2, static_cast<int>(left_ms)) <= 0) continue;
        if (waits[0].revents != 0) take(output, said);
        if (waits[1].revents != 0) take(complaints, complained);
    }
    return true;
}

std::string last_line(std::string_view text) {
    std::string_view last;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
        if (!line.empty()) last = line;
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return std::string(last);
}

}  // namespace

Result<std::string> find_program(const std::string& name) {
    for (const std::string_view folder : kFolders) {
        std::string whole = std::string(folder) + "/" + name;
        if (::access(whole.c_str(), X_OK) == 0) return whole;
    }
    return fail(Code::kUnsupported, "the program " + name + " is not installed");
}

Result<ProgramEnd> run_program(const std::vector<std::string>& words, Duration limit,
                               const std::string& input) {
    const std::string path = TRY(find_program(words.front()));
    Pipe output = TRY(make_pipe());
    Pipe complaints = TRY(make_pipe());
    // All of it lies there before anybody reads, and behind it nothing.
    Pipe given = TRY(make_pipe());
    if (::write(given.theirs.get(), input.data(), input.size()) !=
        static_cast<ssize_t>(input.size()))
        return fail_errno("handing over what " + words.front() + " is to read");
    given.theirs.reset();
    const pid_t process =
        TRY(start(path, words, given.ours.get(), output.theirs.get(), complaints.theirs.get()));
    given.ours.reset();
    output.theirs.reset();
    complaints.theirs.reset();
    ProgramEnd end;
    std::string complained;
    if (!read_all(output.ours, end.output, complaints.ours, complained, monotonic_now() + limit)) {
        ::kill(process, SIGTERM);
        return fail(Code::kTimeout, words.front() + " did not end within " +
                                        std::to_string(limit / std::chrono::seconds(1)) + " s");
    }
    int how = 0;
    ::waitpid(process, &how, 0);
    end.exit_code = WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
    end.complaint = last_line(complained);
    return end;
}

}  // namespace towline
