// SPDX-License-Identifier: Apache-2.0
// What a volume stands on, and whether two volumes stand on the same bytes.
//
// Each step down carries the range of bytes along: exact through partitions and loop devices, "all
// of it" through dm and md, whose mappings are not read. A range may be too wide, never too narrow,
// so "apart" is certain and "overlap" is careful. Logical volumes of one group would all overlap by
// that; LVM itself keeps them apart, and its mark in the dm uuid is taken for proof.

#include "userspace/engine/footing.hpp"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "io/block_device.hpp"

namespace towline {
namespace {

constexpr std::uint64_t kSectorBytes = 512;  // sysfs counts in these, whatever the disk has
constexpr std::string_view kDevice = "device:";
// More than any real stack; ends the walk should sysfs ever show a circle.
constexpr std::size_t kElementsMax = 512;

std::uint64_t plus(std::uint64_t one, std::uint64_t other) {
    std::uint64_t sum = 0;
    return __builtin_add_overflow(one, other, &sum) ? std::numeric_limits<std::uint64_t>::max()
                                                    : sum;
}

std::uint64_t sectors(dev_t number, const char* attribute) {
    const std::string text = read_attribute(block_folder(number) / attribute);
    return std::strtoull(text.c_str(), nullptr, 10) * kSectorBytes;
}

// The same bytes as seen one level down, where they begin at `start` and end at `end` at most.
Footing::Place shifted(const Footing::Place& place, std::size_t index, std::uint64_t start,
                       std::uint64_t end) {
    Footing::Place below;
    below.start_bytes = plus(place.start_bytes, start);
    below.end_bytes = std::min(plus(place.end_bytes, start), end);
    below.above = index;
    return below;
}

bool deals_out(dev_t number) {
    const std::string uuid = read_attribute(block_folder(number) / "dm/uuid");
    if (uuid.starts_with("LVM-")) return true;
    return uuid.starts_with("part") && uuid.size() > 4 &&
           std::isdigit(static_cast<unsigned char>(uuid[4])) != 0;
}

void add(Footing& footing, std::string element, const Footing::Place& place) {
    footing.elements.push_back(std::move(element));
    footing.places.push_back(place);
}

void walk(Footing& footing, dev_t number, const Footing::Place& place);

void walk_loop(Footing& footing, const LoopBacking& backing, const Footing::Place& place,
               std::size_t index) {
    const std::uint64_t end = backing.length_bytes_max == 0
                                  ? std::numeric_limits<std::uint64_t>::max()
                                  : plus(backing.offset_bytes, backing.length_bytes_max);
    const Footing::Place below = shifted(place, index, backing.offset_bytes, end);
    if (backing.inode == 0)
        walk(footing, backing.device, below);
    else
        add(footing, file_element(backing.device, backing.inode), below);
}

void walk(Footing& footing, dev_t number, const Footing::Place& place) {
    if (footing.elements.size() >= kElementsMax) return;
    const std::size_t index = footing.elements.size();
    add(footing, device_element(number), place);
    if (const auto disk = disk_of(number)) {
        const std::uint64_t start = sectors(number, "start");
        walk(footing, *disk, shifted(place, index, start, plus(start, sectors(number, "size"))));
        return;
    }
    const auto backing = loop_backing(number);
    if (backing && backing->known) walk_loop(footing, *backing, place, index);
    if (backing && !backing->known) footing.complete = false;

    Footing::Place below;
    below.above = index;
    below.dealt_out = deals_out(number);
    for (const dev_t slave : slaves_of(number))
        walk(footing, slave, below);
}

bool apart(const Footing& one, std::size_t i, const Footing& other, std::size_t j) {
    const Footing::Place& mine = one.places[i];
    const Footing::Place& theirs = other.places[j];
    if (mine.end_bytes <= theirs.start_bytes || theirs.end_bytes <= mine.start_bytes) return true;
    const bool shared_above = one.elements[mine.above] == other.elements[theirs.above];
    if (mine.dealt_out && theirs.dealt_out && !shared_above) return true;
    // What lies apart on a device lies apart on all that the device is made of.
    const bool both_have_above = mine.above != i && theirs.above != j;
    return both_have_above && shared_above && apart(one, mine.above, other, theirs.above);
}

}  // namespace

std::string device_element(dev_t number) {
    return std::string(kDevice) + device_number_text(number);
}

std::string file_element(dev_t filesystem, std::uint64_t inode) {
    return "file:" + device_number_text(filesystem) + ":" + std::to_string(inode);
}

std::optional<dev_t> element_device(const std::string& element) {
    if (!element.starts_with(kDevice)) return std::nullopt;
    return parse_device_number(std::string_view(element).substr(kDevice.size()));
}

Footing footing_of_device(dev_t number) {
    Footing footing;
    walk(footing, number, {});
    return footing;
}

Result<Footing> footing_of(const Volume& volume) {
    if (volume.kind() == VolumeKind::kBlockDevice)
        return footing_of_device(volume.status().st_rdev);
    Footing footing;
    add(footing, file_element(volume.status().st_dev, volume.status().st_ino), {});
    return footing;
}

// The first volume stands on nothing's account on the other one: it reaches all of itself, so that
// nothing is taken to lie apart from it.
void append(Footing& footing, const Footing& other) {
    const std::size_t base = footing.elements.size();
    for (std::size_t i = 0; i < other.elements.size(); ++i) {
        Footing::Place place = other.places[i];
        place.above = i == 0 ? 0 : base + place.above;
        footing.elements.push_back(other.elements[i]);
        footing.places.push_back(place);
    }
    footing.complete = footing.complete && other.complete;
}

std::string overlap(const Footing& one, const Footing& other) {
    for (std::size_t i = 0; i < one.elements.size(); ++i)
        for (std::size_t j = 0; j < other.elements.size(); ++j)
            if (one.elements[i] == other.elements[j] && !apart(one, i, other, j))
                return one.elements[i];
    return {};
}

}  // namespace towline
