// SPDX-License-Identifier: Apache-2.0
// What a point is made of, whoever shows it: a mount as files, an NBD server as exports. Names are
// the same for both.

#include "userspace/vault/point_folder.hpp"

#include <algorithm>
#include <cerrno>

#include "io/clock.hpp"
#include "userspace/vault/retention.hpp"

namespace towline {

namespace {

constexpr std::uint64_t kSectorBytes = 512;

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

Result<std::unique_ptr<PointFolder>> PointFolder::open(const OpenPoint& point,
                                                       VolumeCache::Options options,
                                                       const std::string& only) {
    std::unique_ptr<PointFolder> folder(new PointFolder());
    folder->created_at_ = parse_utc(point.point().created_at).value_or(0);
    const auto& volumes = point.point().volumes;
    std::size_t first = 0;
    std::size_t end = volumes.size();
    if (!only.empty()) {
        first = TRY(find_volume(point.point(), only));
        end = first + 1;
    }
    options.cache_bytes /= std::max<std::size_t>(1, end - first);
    for (std::size_t i = first; i < end; ++i) {
        folder->files_.push_back(
            {.name = volumes[i].name,
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
    const std::int64_t minute = monotonic_now().time_since_epoch() / 60s;
    if (minute_.exchange(minute) != minute) told_ = 0;
    if (told_ < kToldMax && told_++ < kToldMax) log_(error.text());
    // What a writer can do something about; else a block cannot be had, whatever kept it away.
    const bool of_writer =
        error.system_errno == ENOSPC || error.system_errno == EDQUOT || error.system_errno == EFBIG;
    return of_writer ? error.system_errno : EIO;
}

}  // namespace towline
