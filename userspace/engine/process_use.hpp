// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "io/clock.hpp"

namespace towline {

// CPU that this thread, or the whole process, has used: user and system.
Duration thread_cpu_time();
Duration process_cpu_time();
// The most memory that this process ever held.
std::uint64_t process_rss_max_bytes();

}  // namespace towline
