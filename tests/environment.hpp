// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a campaign or an area of tools/test asks of a test: TOWLINE_SEED, TOWLINE_COUNT, ...

#include <cstdint>
#include <cstdlib>

namespace towline::testing {

inline std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 0);
}

}  // namespace towline::testing
