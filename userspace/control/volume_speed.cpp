// SPDX-License-Identifier: Apache-2.0
// Before there is a run to tell by, this is what one can be foretold from.

#include "userspace/control/volume_speed.hpp"

#include <algorithm>
#include <ctime>
#include <sstream>

#include "io/block_device.hpp"
#include "userspace/engine/disk_sample.hpp"

namespace towline {

namespace {

constexpr Duration kReadTime = std::chrono::milliseconds(700);
// In less, what is written in bursts says nothing.
constexpr Duration kMeterTimeMin = std::chrono::milliseconds(500);
constexpr std::uint64_t kSectorBytes = 512;
constexpr int kSectorsWritten = 7;  // the field of `stat` (Documentation/block/stat.rst)

std::optional<std::uint64_t> sectors_written(dev_t device) {
    std::istringstream fields(read_attribute(block_folder(device) / "stat"));
    std::uint64_t value = 0;
    for (int field = 1; field <= kSectorsWritten; ++field)
        if (!(fields >> value)) return std::nullopt;
    return value;
}

double seconds_since_boot() {
    timespec now{};
    ::clock_gettime(CLOCK_BOOTTIME, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

}  // namespace

std::optional<double> read_speed(const std::vector<Volume>& volumes) {
    double bytes = 0, took = 0;
    const Duration each_time = kReadTime / std::max<std::size_t>(1, volumes.size());
    for (const Volume& each : volumes) {
        const auto sample = sample_reading(each, each_time);
        const auto speed = sample ? sample->read_bytes_per_second() : std::nullopt;
        if (!speed) continue;
        bytes += static_cast<double>(each.size_bytes());
        took += static_cast<double>(each.size_bytes()) / *speed;
    }
    if (took <= 0) return std::nullopt;
    return bytes / took;
}

WriteMeter::WriteMeter(const std::vector<Volume>& volumes) : began_(monotonic_now()) {
    for (const Volume& each : volumes) {
        if (each.kind() == VolumeKind::kBlockDevice) {
            devices_.push_back(each.status().st_rdev);
        } else {
            devices_.clear();
            break;
        }
    }
    began_bytes_ = written_bytes();
}

std::optional<std::uint64_t> WriteMeter::written_bytes() const {
    if (devices_.empty()) return std::nullopt;
    std::uint64_t bytes = 0;
    for (const dev_t device : devices_) {
        const auto sectors = sectors_written(device);
        if (!sectors) return std::nullopt;
        bytes += *sectors * kSectorBytes;
    }
    return bytes;
}

std::optional<double> WriteMeter::bytes_per_second() const {
    const auto now_bytes = written_bytes();
    if (!now_bytes || !began_bytes_) return std::nullopt;
    const double on_average = static_cast<double>(*now_bytes) / std::max(1.0, seconds_since_boot());
    const Duration took = monotonic_now() - began_;
    // A counter of a device that was attached anew begins anew.
    if (took < kMeterTimeMin || *now_bytes < *began_bytes_) return on_average;
    return std::max(on_average, static_cast<double>(*now_bytes - *began_bytes_) / seconds(took));
}

}  // namespace towline
