// SPDX-License-Identifier: Apache-2.0
// Where a volume has data: the map of a file's holes, and a look at a few places.
//
// A hole is only ever a promise that zeros are read there; where the filesystem cannot tell, all of
// it counts as data. The map is a moment's truth: nothing but the run's own snapshot keeps it true.

#include <algorithm>
#include <cerrno>
#include <unistd.h>

#include "io/checksum.hpp"
#include "io/volume.hpp"

namespace towline {
namespace {

// Superblocks, partition tables and labels lie here at either end.
constexpr std::uint64_t kEndSampleBytes = 1 << 20;
constexpr std::uint64_t kSampleBytes = 64 << 10;
constexpr std::uint64_t kSampleCount = 64;
// Below this all is read: samples would save nothing.
constexpr std::uint64_t kReadAllBytes = 8 << 20;
constexpr std::size_t kSampledRangesMax = 4096;

enum class Seek { kFound, kEnd, kCannot };

struct SeekAnswer {
    Seek seek = Seek::kEnd;
    std::uint64_t offset_bytes = 0;
};

Result<SeekAnswer> seek(int fd, std::uint64_t from, int whence, const std::string& name) {
    const off_t found = ::lseek(fd, static_cast<off_t>(from), whence);
    if (found >= 0) return SeekAnswer{Seek::kFound, static_cast<std::uint64_t>(found)};
    if (errno == ENXIO) return SeekAnswer{};
    if (errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS)
        return SeekAnswer{.seek = Seek::kCannot};
    return fail_errno("looking for the holes of " + name);
}

// Each two neighbours become one: half as many ranges, every byte of data still in one of them.
void join_pairs(std::vector<DataRange>& ranges) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < ranges.size(); i += 2) {
        const DataRange& last = ranges[std::min(i + 1, ranges.size() - 1)];
        const std::uint64_t start = ranges[i].offset_bytes;
        ranges[kept++] = {start, last.offset_bytes + last.length_bytes - start};
    }
    ranges.resize(kept);
}

void append(std::vector<DataRange>& ranges, DataRange range, std::size_t ranges_max) {
    if (ranges.size() >= ranges_max) {
        if (ranges_max == 1) {
            ranges[0].length_bytes =
                range.offset_bytes + range.length_bytes - ranges[0].offset_bytes;
            return;
        }
        join_pairs(ranges);
    }
    ranges.push_back(range);
}

// Pieces spread over the data of the ranges, its start and its end among them.
std::vector<DataRange> samples_of(const std::vector<DataRange>& ranges) {
    std::uint64_t total = 0;
    for (const DataRange& range : ranges)
        total += range.length_bytes;
    if (total <= kReadAllBytes) return ranges;

    std::vector<DataRange> wanted{
        {0, kEndSampleBytes}};  // counted in bytes of data, holes left out
    const std::uint64_t stride = total / kSampleCount;
    for (std::uint64_t i = 1; i < kSampleCount; ++i)
        wanted.push_back({i * stride, kSampleBytes});
    wanted.push_back({total - kEndSampleBytes, kEndSampleBytes});

    std::vector<DataRange> samples;
    std::uint64_t passed = 0;
    for (const DataRange& range : ranges) {
        for (const DataRange& piece : wanted) {
            const std::uint64_t start = std::max(piece.offset_bytes, passed);
            const std::uint64_t end =
                std::min(piece.offset_bytes + piece.length_bytes, passed + range.length_bytes);
            if (start < end) samples.push_back({range.offset_bytes + start - passed, end - start});
        }
        passed += range.length_bytes;
    }
    return samples;
}

}  // namespace

Result<std::vector<DataRange>> Volume::data_ranges(std::size_t ranges_max) const {
    std::vector<DataRange> whole{{0, size_bytes_}};
    if (size_bytes_ == 0) return std::vector<DataRange>{};
    if (kind_ == VolumeKind::kBlockDevice) return whole;

    std::vector<DataRange> ranges;
    std::uint64_t at = 0;
    while (at < size_bytes_) {
        const SeekAnswer data = TRY(seek(fd_.get(), at, SEEK_DATA, name_));
        if (data.seek == Seek::kCannot) return whole;
        if (data.seek == Seek::kEnd || data.offset_bytes >= size_bytes_) break;
        const SeekAnswer hole = TRY(seek(fd_.get(), data.offset_bytes, SEEK_HOLE, name_));
        if (hole.seek == Seek::kCannot) return whole;
        std::uint64_t end = size_bytes_;
        if (hole.seek == Seek::kFound) end = std::min(hole.offset_bytes, size_bytes_);
        // Punched away between the two questions: read it rather than turn in circles.
        if (end <= data.offset_bytes)
            end = std::min(data.offset_bytes + alignment_bytes_, size_bytes_);
        append(ranges, {data.offset_bytes, end - data.offset_bytes},
               std::max<std::size_t>(1, ranges_max));
        at = end;
    }
    return ranges;
}

Result<bool> Volume::known_empty() const {
    if (kind_ == VolumeKind::kBlockDevice) return false;
    if (size_bytes_ == 0) return true;
    const SeekAnswer data = TRY(seek(fd_.get(), 0, SEEK_DATA, name_));
    return data.seek == Seek::kEnd;
}

Result<bool> Volume::has_data() const {
    const std::vector<DataRange> ranges = TRY(data_ranges(kSampledRangesMax));
    std::vector<std::byte> piece;
    for (const DataRange& sample : samples_of(ranges)) {
        for (std::uint64_t done = 0; done < sample.length_bytes; done += piece.size()) {
            piece.resize(std::min(kEndSampleBytes, sample.length_bytes - done));
            TRY_STATUS(read_at(sample.offset_bytes + done, piece));
            if (!is_zero(piece)) return true;
        }
    }
    return false;
}

}  // namespace towline
