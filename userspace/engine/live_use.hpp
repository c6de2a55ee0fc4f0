// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "io/volume.hpp"

namespace towline {

// What may be writing to a volume at this moment: "mounted at /srv", through partitions, loop
// devices and whatever is made of it. Nothing: nothing that can be seen.
Result<std::optional<std::string>> live_use(const Volume& volume);

}  // namespace towline
