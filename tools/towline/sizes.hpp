// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "io/result.hpp"

namespace towline {

// "64K", "1GiB", "4096": bytes. `option` is named in the Error.
Result<std::uint64_t> parse_size(const std::string& text, const std::string& option);

}  // namespace towline
