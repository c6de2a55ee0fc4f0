// SPDX-License-Identifier: Apache-2.0
// A disk is measured by pieces one after another: a run has several under way, and is no slower.
// Nothing that has a name is ever written to. What is written cannot be made smaller and has no
// block twice, so that a filesystem that compresses or shares blocks does not look like a fast
// disk. One at a time in a process: two would measure each other.

#include "userspace/engine/disk_sample.hpp"

#include <algorithm>
#include <cstdlib>
#include <fcntl.h>
#include <memory>
#include <mutex>
#include <random>
#include <span>
#include <sys/statvfs.h>
#include <unistd.h>

#include "io/bytes.hpp"
#include "io/uuid.hpp"

namespace towline {

namespace {

constexpr std::uint64_t kPieceBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kReadPieces = kDiskSampleBytesMax / kPieceBytes;
constexpr std::uint64_t kWriteBytes = std::uint64_t{64} << 20;
constexpr std::uint64_t kWriteBytesMin = std::uint64_t{4} << 20;
constexpr std::uint64_t kFreeShare = 8;
constexpr Duration kWriteTime = std::chrono::milliseconds(600);
constexpr Duration kReadBackTime = std::chrono::milliseconds(300);
constexpr std::size_t kBlockBytes = 4096;  // alignment of O_DIRECT, and what is shared by others

std::uint64_t microseconds_since(Instant began) {
    const auto took =
        std::chrono::duration_cast<std::chrono::microseconds>(monotonic_now() - began);
    return std::max<std::uint64_t>(1, static_cast<std::uint64_t>(took.count()));
}

std::optional<double> speed(std::uint64_t bytes, std::uint64_t microseconds) {
    if (bytes == 0 || microseconds == 0) return std::nullopt;
    return static_cast<double>(bytes) * 1e6 / static_cast<double>(microseconds);
}

// Where the pieces of a volume that are no holes lie, numbered.
class Pieces {
  public:
    explicit Pieces(const Volume& volume) {
        const auto ranges = volume.data_ranges();
        if (ranges)
            for (const DataRange& each : *ranges)
                add(each.offset_bytes, each.length_bytes);
        if (count_ == 0) add(0, volume.size_bytes());
    }
    std::uint64_t count() const { return count_; }
    std::uint64_t offset_of(std::uint64_t index) const {
        const auto run = std::prev(std::ranges::upper_bound(runs_, index, {}, &Run::first_index));
        return run->offset_bytes + (index - run->first_index) * kPieceBytes;
    }

  private:
    struct Run {
        std::uint64_t first_index;
        std::uint64_t offset_bytes;
    };
    void add(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
        if (length_bytes < kPieceBytes) return;
        runs_.push_back({count_, offset_bytes});
        count_ += length_bytes / kPieceBytes;
    }
    std::vector<Run> runs_;
    std::uint64_t count_ = 0;
};

// Words that no disk makes smaller.
class Piece {
  public:
    Piece() : bytes_(static_cast<std::byte*>(std::aligned_alloc(kBlockBytes, kPieceBytes))) {
        std::mt19937_64 random(0x6469736b);
        for (std::size_t at = 0; at < kPieceBytes; at += sizeof(std::uint64_t))
            store_le(bytes_.get() + at, std::uint64_t{random()});
    }
    std::byte* bytes() { return bytes_.get(); }
    // Other blocks than those of any number before.
    void renew(std::uint64_t number) {
        for (std::size_t at = 0; at < kPieceBytes; at += kBlockBytes)
            store_le(bytes_.get() + at, number * kPieceBytes + at);
    }

  private:
    struct Free {
        void operator()(std::byte* bytes) const { std::free(bytes); }
    };
    std::unique_ptr<std::byte, Free> bytes_;
};

// As much as may be written there.
Result<std::uint64_t> bytes_that_fit(int folder, const std::string& shown) {
    struct statvfs there {};
    if (::fstatvfs(folder, &there) < 0) return fail_errno("cannot look at " + shown);
    if (there.f_blocks == 0)
        return fail(Code::kUnsupported, shown + " does not say how much room it has");
    const std::uint64_t share = std::uint64_t{there.f_bavail} * there.f_frsize / kFreeShare;
    if (share < kWriteBytesMin)
        return fail(Code::kNoSpace, "too little is free in " + shown + " to measure its disk");
    return std::min(kWriteBytes, share / kPieceBytes * kPieceBytes);
}

// A file without a name, past the page cache where that can be had; else each write is stored
// before it is done. Where a filesystem makes no nameless file, the name goes at once.
Fd make_nameless(int folder) {
    const std::string name = ".towline-measures-" + Uuid::random().text();
    for (const int how : {O_DIRECT, O_DSYNC}) {
        Fd made(::openat(folder, ".", O_RDWR | O_TMPFILE | O_CLOEXEC | how, 0600));
        if (made) return made;
    }
    for (const int how : {O_DIRECT, O_DSYNC}) {
        Fd made(::openat(folder, name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | how, 0600));
        // Without O_DIRECT the file may have been made, and the opening refused.
        const int error = errno;
        ::unlinkat(folder, name.c_str(), 0);
        errno = error;
        if (made) return made;
    }
    return {};
}

Status write_sample(int file, Piece& piece, std::uint64_t bytes_max, DiskSample& sample) {
    const Instant began = monotonic_now();
    while (sample.written_bytes < bytes_max && monotonic_now() - began < kWriteTime) {
        piece.renew(sample.written_bytes / kPieceBytes);
        const ssize_t put =
            ::pwrite(file, piece.bytes(), kPieceBytes, static_cast<off_t>(sample.written_bytes));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return fail_errno("cannot measure how fast the disk writes");
        if (put != static_cast<ssize_t>(kPieceBytes))
            return fail(Code::kNoSpace, "there is no room to measure how fast the disk writes");
        sample.written_bytes += kPieceBytes;
    }
    if (::fdatasync(file) < 0) return fail_errno("cannot measure how fast the disk writes");
    sample.written_us = microseconds_since(began);
    return {};
}

Status read_sample(int file, Piece& piece, DiskSample& sample) {
    ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    const Instant began = monotonic_now();
    while (sample.read_bytes < sample.written_bytes && monotonic_now() - began < kReadBackTime) {
        const ssize_t got =
            ::pread(file, piece.bytes(), kPieceBytes, static_cast<off_t>(sample.read_bytes));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_errno("cannot measure how fast the disk reads");
        if (got == 0) break;
        sample.read_bytes += static_cast<std::uint64_t>(got);
    }
    sample.read_us = microseconds_since(began);
    return {};
}

}  // namespace

std::optional<double> DiskSample::write_bytes_per_second() const {
    return speed(written_bytes, written_us);
}

std::optional<double> DiskSample::read_bytes_per_second() const {
    return speed(read_bytes, read_us);
}

Result<DiskSample> sample_reading(const Volume& volume, Duration time_max) {
    if (!volume.direct())
        return fail(Code::kUnsupported,
                    volume.name() +
                        " cannot be read past the page cache, so its disk was not "
                        "measured");
    const Pieces pieces(volume);
    if (pieces.count() == 0)
        return fail(Code::kUnsupported, volume.name() + " is too small to be measured");
    const std::uint64_t step = std::max<std::uint64_t>(1, pieces.count() / kReadPieces);
    std::vector<std::byte> piece(kPieceBytes);
    DiskSample sample;
    const Instant began = monotonic_now();
    for (std::uint64_t index = 0; index < pieces.count(); index += step) {
        if (sample.read_bytes == kDiskSampleBytesMax || monotonic_now() - began >= time_max) break;
        TRY_STATUS(volume.read_at(pieces.offset_of(index), piece));
        sample.read_bytes += kPieceBytes;
    }
    sample.read_us = microseconds_since(began);
    return sample;
}

Result<DiskSample> sample_writing(int folder, const std::string& shown) {
    static std::mutex one_at_a_time;
    const std::unique_lock alone(one_at_a_time, std::try_to_lock);
    if (!alone) return fail(Code::kBusy, "another measurement of a disk goes on there; ask again");
    const std::uint64_t bytes_max = TRY(bytes_that_fit(folder, shown));
    const Fd file = make_nameless(folder);
    if (!file) return fail_errno("cannot write into " + shown + " to measure its disk");
    Piece piece;
    DiskSample sample;
    TRY_STATUS(write_sample(file.get(), piece, bytes_max, sample));
    TRY_STATUS(read_sample(file.get(), piece, sample));
    return sample;
}

Result<DiskSample> sample_folder(const std::filesystem::path& folder) {
    const Fd opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!opened) return fail_errno("cannot open the folder " + folder.string());
    return sample_writing(opened.get(), folder.string());
}

}  // namespace towline
