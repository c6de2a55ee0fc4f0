// SPDX-License-Identifier: Apache-2.0
#pragma once

// Small files that must be wholly the old or wholly the new ones after any crash.

#include <chrono>
#include <filesystem>
#include <optional>
#include <vector>

#include "io/bytes.hpp"
#include "io/fd.hpp"
#include "io/result.hpp"

namespace towline {

// Written beside, synced, renamed over, the folder synced.
Status replace_file(const std::filesystem::path& path, ByteSpan contents);

// Nothing when there is no such file.
Result<std::optional<std::vector<std::byte>>> read_file(const std::filesystem::path& path,
                                                        std::size_t bytes_max);

// Creates the folder and its parents with the mode 0700, durably.
Status make_folder(const std::filesystem::path& path);

// What a killed process holds is free when the last of its threads has ended, which may be a while
// after its parent was told: who follows such a process waits that long.
inline constexpr std::chrono::milliseconds kHolderDies{5000};

// An exclusive lock that ends with the process. kBusy with `what` in the text when another holds
// it, still after `patience`, for which the thread sleeps.
Result<Fd> lock_file(const std::filesystem::path& path, const std::string& what,
                     std::chrono::nanoseconds patience = {});

}  // namespace towline
