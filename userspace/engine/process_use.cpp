// SPDX-License-Identifier: Apache-2.0
// What the kernel has on the account of a thread or of this process.

#include "userspace/engine/process_use.hpp"

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

std::uint64_t process_rss_max_bytes() {
    rusage use{};
    if (::getrusage(RUSAGE_SELF, &use) < 0) return 0;
    return static_cast<std::uint64_t>(use.ru_maxrss) * 1024;
}

}  // namespace towline
