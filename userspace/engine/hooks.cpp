// SPDX-License-Identifier: Apache-2.0
// A hook runs in a process group of its own, so that its limit ends all that it started: a helper
// that holds a lock would else outlive it. Its output is ours: people look for it there.

#include "userspace/engine/hooks.hpp"

#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "io/fd.hpp"

namespace towline {

namespace {

constexpr int kEndTimeMs = 2000;  // from SIGTERM to SIGKILL

std::vector<std::string> environment_with(const std::map<std::string, std::string>& more) {
    std::vector<std::string> all;
    for (char** each = environ; *each != nullptr; ++each) {
        const std::string entry = *each;
        if (!more.contains(entry.substr(0, entry.find('=')))) all.push_back(entry);
    }
    for (const auto& [name, value] : more) {
        std::string entry = name;
        all.push_back(entry.append("=").append(value));
    }
    return all;
}

Result<pid_t> start(const std::filesystem::path& program,
                    const std::map<std::string, std::string>& more) {
    std::vector<std::string> environment = environment_with(more);
    std::vector<char*> pointers;
    pointers.reserve(environment.size() + 1);
    for (std::string& entry : environment)
        pointers.push_back(entry.data());
    pointers.push_back(nullptr);
    std::string name = program.string();
    char* const words[] = {name.data(), nullptr};
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setpgroup(&attributes, 0);
    pid_t process = -1;
    const int error =
        ::posix_spawn(&process, name.c_str(), nullptr, &attributes, words, pointers.data());
    posix_spawnattr_destroy(&attributes);
    if (error != 0) return fail_errno(error, "cannot run the hook " + name);
    return process;
}

bool ended_within(const Fd& process, int milliseconds) {
    pollfd wait{.fd = process.get(), .events = POLLIN, .revents = 0};
    return ::poll(&wait, 1, milliseconds) > 0;
}

}  // namespace

bool Hooks::has(const std::string& name) const {
    return !folder_.empty() && ::access((folder_ / name).c_str(), X_OK) == 0;
}

Status Hooks::run(const std::string& name, const std::map<std::string, std::string>& more) const {
    if (!has(name)) return {};
    const auto program = folder_ / name;
    const pid_t process = TRY(start(program, more));
    const Fd watched(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
    const auto limit_ms = std::chrono::duration_cast<std::chrono::milliseconds>(limit_).count();
    const bool late = !ended_within(watched, static_cast<int>(limit_ms));
    if (late) {
        ::kill(-process, SIGTERM);
        ended_within(watched, kEndTimeMs);
        ::kill(-process, SIGKILL);
    }
    int how = 0;
    ::waitpid(process, &how, 0);
    if (late) {
        return fail(Code::kTimeout, "the hook " + program.string() + " took longer than " +
                                        std::to_string(limit_ms / 1000) + " s and was ended");
    }
    if (WIFEXITED(how) && WEXITSTATUS(how) == 0) return {};
    return fail(Code::kRefused,
                "the hook " + program.string() +
                    (WIFEXITED(how) ? " ended with exit code " + std::to_string(WEXITSTATUS(how))
                                    : " died of signal " + std::to_string(WTERMSIG(how))));
}

}  // namespace towline
