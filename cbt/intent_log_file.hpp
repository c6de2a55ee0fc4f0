// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "io/fd.hpp"
#include "io/result.hpp"

namespace towline {

struct IntentLogFile {
    Fd fd;
    bool made = false;  // it is new: the module is to begin a log in it
};

// The file that the module's intent log lies in, made (written in full, synced, immutable: its
// blocks stay where they are) if it is not there; or the block device of that name.
Result<IntentLogFile> open_intent_log(const std::filesystem::path& path, std::uint64_t volume_bytes,
                                      std::uint32_t block_bytes);

}  // namespace towline
