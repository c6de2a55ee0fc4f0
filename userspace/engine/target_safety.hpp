// SPDX-License-Identifier: Apache-2.0
#pragma once

// What Towline refuses to write to. Each refusal is Code::kRefused and names the cause and the
// remedy.

#include <filesystem>

#include "io/volume.hpp"
#include "userspace/engine/standing.hpp"

namespace towline {

// Mounted, or swap, or held by dm/md/a loop device that is in use; for an image file: a loop device
// over it. Looks through every mount namespace that /proc shows, not ours alone.
Status refuse_if_in_use(const Volume& target);

// The source itself: by another name, hard link, symlink, loop device over it, or a partition of
// the source's disk or the disk of the source's partition. Also a target image that lies on a
// filesystem on the source, and the other way round. Sides on one host only.
Status refuse_if_same(const Volume& source, const Volume& target);
// The same for a source of this host that a peer speaks for. A source image on a filesystem of the
// target is not looked for here: that target is mounted, and refused for it.
Status refuse_if_same(const StandingKey& key, const Standing& source, const Volume& target);
// A folder that a run writes to, stored on such a source. Nothing when the source is elsewhere.
Status refuse_if_stored_on(const Uuid& source, const Standing& standing,
                           const std::filesystem::path& folder);

// Whether what is written beneath a folder of this host ends in the volume.
Result<bool> is_stored_on(const std::filesystem::path& folder, const Volume& volume);

}  // namespace towline
