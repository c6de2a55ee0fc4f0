// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "io/clock.hpp"
#include "io/result.hpp"
#include "io/volume.hpp"
#include "transport/wire_format.hpp"

namespace towline {

// What a short look at a disk tells of its speed: so many bytes, in so much time.
struct DiskSample {
    std::uint64_t written_bytes = 0;
    std::uint64_t written_us = 0;
    std::uint64_t read_bytes = 0;
    std::uint64_t read_us = 0;

    // Nothing: not measured.
    std::optional<double> write_bytes_per_second() const;
    std::optional<double> read_bytes_per_second() const;
    bool operator==(const DiskSample&) const = default;
};

// No sample is of more, in either direction.
constexpr std::uint64_t kDiskSampleBytesMax = wire::kDiskSampleBytesMax;

// Reads pieces from all over the volume, of what is no hole, past the page cache; changes nothing.
// kUnsupported where that cannot be done.
Result<DiskSample> sample_reading(const Volume& volume,
                                  Duration time_max = std::chrono::milliseconds(700));

// Writes a file that has no name into the folder, reads it back, and gives it up: 64 MiB at most
// and no more than an eighth of what is free, for about a second. Nothing of it is left whatever
// dies meanwhile. kNoSpace where room is short, kBusy while another one is being measured here.
// `shown`: the folder to people.
Result<DiskSample> sample_writing(int folder, const std::string& shown);
Result<DiskSample> sample_folder(const std::filesystem::path& folder);

}  // namespace towline
