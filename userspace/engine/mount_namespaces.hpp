// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <set>
#include <string>

namespace towline {

// Every mount namespace of this system, ours too, as /proc names them ("mnt:[4026531841]"). Nothing
// where the kernel does not list them (before Linux 6.12) or shows us only some.
std::optional<std::set<std::string>> every_mount_namespace();

}  // namespace towline
