// SPDX-License-Identifier: Apache-2.0
#pragma once

// What Towline refuses to write to. Each refusal is Code::kRefused and names the cause and the
// remedy.

#include <filesystem>
#include <string>

#include "io/volume.hpp"

namespace towline {

// The device and inode chains that a volume stands on, down through loop devices, partitions, dm
// and md to whole disks and backing files: two volumes that share an element hold the same bytes
// somewhere.
struct Footing {
    // "file:MAJ:MIN:INODE" and "device:MAJ:MIN", the volume itself first.
    std::vector<std::string> elements;
};
Result<Footing> footing_of(const Volume& volume);

// Mounted, or swap, or held by dm/md/a loop device that is in use; for an image file: a loop device
// over it. Looks through every mount namespace that /proc shows, not ours alone.
Status refuse_if_in_use(const Volume& target);

// The source itself: by another name, hard link, symlink, loop device over it, or a partition of
// the source's disk or the disk of the source's partition. Sides on one host only.
Status refuse_if_same(const Volume& source, const Volume& target);

}  // namespace towline
