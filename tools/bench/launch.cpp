// SPDX-License-Identifier: Apache-2.0
// Runs one command and writes what it cost to a descriptor: "WALL_NS CPU_NS RSS_MAX_BYTES STATUS".
//
// A scripting parent cannot do this well: starting a process from it costs milliseconds, and the
// kernel counts the parent's own peak memory into the child's until the exec. This one is small
// and starts it at once.

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

long long nanoseconds(const timeval& time) {
    return (time.tv_sec * 1'000'000LL + time.tv_usec) * 1000;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) {
        std::fputs("usage: launch RESULT_FD COMMAND [ARGUMENT...]\n", stderr);
        return 2;
    }
    const int result_fd = static_cast<int>(std::strtol(argv[1], nullptr, 10));
    const auto begin = std::chrono::steady_clock::now();
    // Nothing but exec follows in the child.  NOLINTNEXTLINE(bugprone-unsafe-functions)
    const pid_t child = vfork();
    if (child == 0) {
        execvp(argv[2], argv + 2);
        _exit(127);
    }
    int status = 0;
    rusage used{};
    if (child < 0 || wait4(child, &status, 0, &used) != child) {
        std::perror("launch");
        return 1;
    }
    const auto wall = std::chrono::steady_clock::now() - begin;
    const long long wall_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(wall).count();
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    dprintf(result_fd, "%lld %lld %lld %d\n", wall_ns,
            nanoseconds(used.ru_utime) + nanoseconds(used.ru_stime), used.ru_maxrss * 1024LL, code);
    return 0;
}
