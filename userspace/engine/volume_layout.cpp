// SPDX-License-Identifier: Apache-2.0
// Where each volume begins is a function of the sizes alone, so that both sides of a run come to
// the same without telling each other. A peer's list is not believed: it is judged here.

#include "userspace/engine/volume_layout.hpp"

#include <algorithm>

#include "io/align.hpp"

namespace towline {

namespace {

// Far more than any volume, and far less than what would overflow.
constexpr std::uint64_t kBytesMax = std::uint64_t{1} << 56;

}  // namespace

Status check_part_name(const std::string& name) {
    const bool good = !name.empty() && name.size() <= wire::kVolumeNameBytesMax &&
                      name.front() != '.' && name.find('/') == std::string::npos &&
                      std::ranges::none_of(name, [](char each) {
                          return static_cast<unsigned char>(each) < 0x20 || each == 0x7f;
                      });
    if (good) return {};
    return fail(Code::kInvalid, "'" + name +
                                    "' is no name for a volume: 1 to 255 bytes, no '/', no "
                                    "control character, no '.' at the begin");
}

std::uint64_t marked_bytes(const ChangeMap& map, const VolumePart& part) {
    if (map.block_count() == 0) return 0;
    std::uint64_t bytes = 0;
    for (auto run = map.next_run(part.start_bytes / map.block_bytes()); run;
         run = map.next_run(run->end())) {
        const Extent extent = map.extent_of(*run);
        if (extent.offset_bytes >= part.end_bytes()) break;
        bytes += std::min(extent.end_bytes(), part.end_bytes()) - extent.offset_bytes;
    }
    return bytes;
}

VolumeLayout VolumeLayout::of_one(const Uuid& source, std::uint64_t bytes) {
    VolumeLayout layout;
    layout.parts_.push_back({.name = {}, .source = source, .start_bytes = 0, .bytes = bytes});
    return layout;
}

Result<VolumeLayout> VolumeLayout::of(const std::vector<VolumesMessage::Volume>& volumes) {
    if (volumes.empty() || volumes.size() > wire::kVolumesMax)
        return fail(Code::kInvalid,
                    "a run has 1 to " + std::to_string(wire::kVolumesMax) + " volumes");
    VolumeLayout layout;
    for (const VolumesMessage::Volume& each : volumes) {
        TRY_STATUS(check_part_name(each.name));
        if (each.bytes == 0 || each.bytes > kBytesMax)
            return fail(Code::kInvalid, "the volume " + each.name + " has a size that cannot be");
        for (const VolumePart& other : layout.parts_) {
            if (other.source == each.source)
                return fail(Code::kInvalid, each.name + " is the same volume as " + other.name);
            if (other.name == each.name)
                return fail(Code::kInvalid, "two volumes are called " + each.name +
                                                "; name them apart (NAME=PATH)");
        }
        std::uint64_t start = 0;
        if (!layout.parts_.empty()) {
            start = align_up<std::uint64_t>(layout.size_bytes(), wire::kBlockBytesMax) +
                    wire::kBlockBytesMax;
        }
        layout.parts_.push_back(
            {.name = each.name, .source = each.source, .start_bytes = start, .bytes = each.bytes});
    }
    return layout;
}

const VolumePart* VolumeLayout::part_at(std::uint64_t offset_bytes) const {
    const auto behind =
        std::ranges::upper_bound(parts_, offset_bytes, {}, &VolumePart::start_bytes);
    return behind == parts_.begin() ? nullptr : &*std::prev(behind);
}

std::uint64_t VolumeLayout::data_bytes() const {
    std::uint64_t bytes = 0;
    for (const VolumePart& each : parts_)
        bytes += each.bytes;
    return bytes;
}

std::vector<Extent> VolumeLayout::gaps() const {
    std::vector<Extent> gaps;
    for (std::size_t next = 1; next < parts_.size(); ++next) {
        const std::uint64_t begin =
            align_up<std::uint64_t>(parts_[next - 1].end_bytes(), wire::kBlockBytesMax);
        gaps.push_back({begin, parts_[next].start_bytes - begin});
    }
    return gaps;
}

BlockCheck VolumeLayout::check() const {
    std::vector<BlockCheck::Part> parts;
    parts.reserve(parts_.size());
    for (const VolumePart& each : parts_)
        parts.push_back({each.start_bytes, each.source});
    return BlockCheck(parts);
}

std::optional<VolumesMessage> VolumeLayout::message() const {
    if (parts_.empty() || parts_.front().name.empty()) return std::nullopt;
    VolumesMessage message;
    for (const VolumePart& each : parts_)
        message.volumes.push_back({each.name, each.source, each.bytes});
    return message;
}

std::string VolumeLayout::text() const {
    std::string text;
    if (!several()) return text;
    for (const VolumePart& each : parts_)
        text += (text.empty() ? "" : " ") + each.source.text() + ":" + std::to_string(each.bytes);
    return text;
}

}  // namespace towline
