// SPDX-License-Identifier: Apache-2.0
#pragma once

// CHECK is for our own bugs alone: always on, it aborts with the place. What a disk, a peer, a file
// or a user can cause is never a CHECK but an Error.

#include <cstdio>
#include <cstdlib>

namespace towline {

[[noreturn]] inline void check_failed(const char* what, const char* file, int line) {
    std::fprintf(stderr, "towline: bug at %s:%d: %s\n", file, line, what);
    std::abort();
}

}  // namespace towline

#define CHECK(condition) \
    ((condition) ? static_cast<void>(0) : ::towline::check_failed(#condition, __FILE__, __LINE__))
