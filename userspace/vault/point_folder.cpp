// SPDX-License-Identifier: Apache-2.0
// What a point is made of, whoever shows it: a mount as files, an NBD server as exports. Names are
// the same for both.

#include "userspace/vault/point_folder.hpp"

#include <algorithm>
#include <cerrno>

#include "userspace/vault/retention.hpp"

namespace towline {

namespace {

constexpr std::uint64_t kSectorBytes = 512;

bool is_file_name(const std::string& name) {
    return !name.empty() && name != "." && name != ".." && name.size() <= 255 &&
           name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

// What is no hole, at most.
std::uint64_t data_bytes_max(const PointVolume& volume) {
    const std::uint64_t most = volume.bytes / volume.block_bytes + 1;
    std::uint64_t bytes = 0;
    for (const PointIndex& each : volume.indexes)
        bytes += std::min(each.entries, most) * volume.block_bytes;
    // Never all of it: a program that copies then asks where the holes are.
    return std::min(bytes, volume.bytes - std::min<std::uint64_t>(volume.bytes, kSectorBytes));
}

}  // namespace

std::vector<std::string> PointFolder::names_of(const Point& point) {
    std::vector<std::string> names;
    for (const PointVolume& each : point.volumes) {
        const bool taken = std::ranges::find(names, each.name) != names.end();
        const bool keeps = !taken && is_file_name(each.name);
        names.push_back(keeps ? each.name : "volume-" + std::to_string(names.size() + 1));
    }
    return names;
}

Error PointFolder::no_volume(const Point& point, const std::string& name) {
    std::string there;
    for (const std::string& each : names_of(point))
        there += (there.empty() ? "" : ", ") + each;
    return {.code = Code::kRefused,
            .context = "the point has no volume " + name + "; it has " + there};
}

Result<std::unique_ptr<PointFolder>> PointFolder::open(const OpenPoint& point,
                                                       VolumeCache::Options options,
                                                       const std::string& only) {
    std::unique_ptr<PointFolder> folder(new PointFolder());
    folder->created_at_ = parse_utc(point.point().created_at).value_or(0);
    const auto& volumes = point.point().volumes;
    const std::vector<std::string> names = names_of(point.point());
    if (!only.empty() && std::ranges::find(names, only) == names.end())
        return std::unexpected(no_volume(point.point(), only));
    if (only.empty()) options.cache_bytes /= std::max<std::size_t>(1, volumes.size());
    for (std::size_t i = 0; i < volumes.size(); ++i) {
        if (!only.empty() && names[i] != only) continue;
        folder->files_.push_back(
            {.name = names[i],
             .volume = std::make_unique<VolumeCache>(TRY(point.volume(i)), options),
             .data_bytes_max = data_bytes_max(volumes[i])});
    }
    return folder;
}

Status PointFolder::overlay(const std::filesystem::path& scratch) {
    for (File& each : files_)
        each.overlay = TRY(Overlay::create(*each.volume, scratch));
    return {};
}

int PointFolder::told(const Error& error) {
    if (told_ < kToldMax && told_++ < kToldMax) log_(error.text());
    // What a writer can do something about; else a block cannot be had, whatever kept it away.
    const bool of_writer =
        error.system_errno == ENOSPC || error.system_errno == EDQUOT || error.system_errno == EFBIG;
    return of_writer ? error.system_errno : EIO;
}

}  // namespace towline
