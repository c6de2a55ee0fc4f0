// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>

#include "cbt/used_blocks.hpp"

namespace towline {

// What the pool of a thin volume (LVM's, or any other of dm-thin) has allocated to it; nothing: it
// is no thin volume. All else reads as zeros, whatever it once held: leaving it out makes the same
// bytes. It is of the moment of the call, and only of volumes that nobody writes to: an image, or
// one that nobody uses; the caller sees to that.
//
// `note` names a file of this volume's: what must be found again after a death of this process.
// Runs programs and blocks, for a minute at most. Any doubt is "all used", never an error.
std::optional<UsedBlocks> used_blocks_thin(const Volume& source, const std::filesystem::path& note);

}  // namespace towline
