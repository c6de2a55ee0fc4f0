// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "io/volume.hpp"

namespace towline {

// The device and inode chains that a volume stands on, down through loop devices, partitions, dm
// and md to whole disks and backing files. Two volumes without a common element hold no byte in
// common; two with one may still lie apart on it (partitions of a disk): `overlap` tells.
struct Footing {
    // Beside each element: the bytes of it that the volume can reach. Never too few; all of it
    // where the mapping is not known.
    struct Place {
        std::uint64_t start_bytes = 0;
        std::uint64_t end_bytes = std::numeric_limits<std::uint64_t>::max();
        std::size_t above = 0;  // the element that stands on this one; the first one's is itself
        // The one above is dealt out of this element by LVM or kpartx, which never give a byte to
        // two of theirs.
        bool dealt_out = false;
        bool operator==(const Place&) const = default;
    };
    // "file:MAJ:MIN:INODE" and "device:MAJ:MIN", the volume itself first.
    std::vector<std::string> elements;
    std::vector<Place> places;
    // A loop device whose file the kernel would not name: what lies below it is missing here.
    bool complete = true;
};

Result<Footing> footing_of(const Volume& volume);
Footing footing_of_device(dev_t number);

// Puts what another volume stands on behind it: the ground of both.
void append(Footing& footing, const Footing& other);

// The name of an element that both may touch the same bytes of, or empty.
std::string overlap(const Footing& one, const Footing& other);

std::string device_element(dev_t number);
std::string file_element(dev_t filesystem, std::uint64_t inode);
// The device of a "device:" element.
std::optional<dev_t> element_device(const std::string& element);

}  // namespace towline
