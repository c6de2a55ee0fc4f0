// SPDX-License-Identifier: Apache-2.0
// What the kernel has on the account of a thread or of this process.

#include "userspace/engine/process_use.hpp"

#include <cstdlib>
#include <fstream>
#include <string>
#include <sys/resource.h>

namespace towline {

namespace {

Duration cpu_of(int who) {
    rusage use{};
    if (::getrusage(who, &use) < 0) return {};
    return std::chrono::seconds(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           std::chrono::microseconds(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

}  // namespace

Duration thread_cpu_time() {
    return cpu_of(RUSAGE_THREAD);
}
Duration process_cpu_time() {
    return cpu_of(RUSAGE_SELF);
}

// Not of getrusage: its maximum is handed on through fork and exec, and would be that of a large
// program which started us.
std::uint64_t process_rss_max_bytes() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("VmHWM:")) return std::strtoull(&line[6], nullptr, 10) * 1024;
    }
    return 0;
}

}  // namespace towline
