// SPDX-License-Identifier: Apache-2.0
// A page is the point's until it is written, and the scratch file's from then on. It is marked when
// the scratch has all of it: a write that fails on the way leaves the page as it was before, or, if
// it was the scratch's already, as any write that fails does.

#include "userspace/vault/overlay.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <linux/falloc.h>
#include <mutex>
#include <unistd.h>

namespace towline {

namespace {

Status put(int fd, std::uint64_t offset_bytes, ByteSpan bytes) {
    while (!bytes.empty()) {
        const ssize_t done =
            ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset_bytes));
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return fail_errno("writing to the overlay's scratch file");
        bytes = bytes.subspan(static_cast<std::size_t>(done));
        offset_bytes += static_cast<std::uint64_t>(done);
    }
    return {};
}

Status get(int fd, std::uint64_t offset_bytes, MutableByteSpan into) {
    while (!into.empty()) {
        const ssize_t done =
            ::pread(fd, into.data(), into.size(), static_cast<off_t>(offset_bytes));
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return fail_errno(done < 0 ? errno : EIO, "reading the overlay's scratch");
        into = into.subspan(static_cast<std::size_t>(done));
        offset_bytes += static_cast<std::uint64_t>(done);
    }
    return {};
}

}  // namespace

Overlay::Overlay(VolumeCache& below, Fd scratch)
    : below_(below),
      bytes_(below.volume().size_bytes()),
      scratch_(std::move(scratch)),
      written_(page_count(bytes_)) {}

Result<std::unique_ptr<Overlay>> Overlay::create(VolumeCache& below,
                                                 const std::filesystem::path& folder) {
    Fd scratch(::open(folder.c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600));
    if (!scratch) {
        return fail_errno("making the overlay's scratch file in " + folder.string() +
                          " (--scratch names another folder)");
    }
    const std::uint64_t bytes = below.volume().size_bytes();
    if (::ftruncate(scratch.get(), static_cast<off_t>(bytes)) != 0)
        return fail_errno("giving the overlay's scratch file its length");
    return std::unique_ptr<Overlay>(new Overlay(below, std::move(scratch)));
}

Status Overlay::within(std::uint64_t offset_bytes, std::uint64_t length_bytes) const {
    if (offset_bytes <= bytes_ && length_bytes <= bytes_ - offset_bytes) return {};
    return fail_errno(EFBIG, "a write behind the end of the volume");
}

std::uint64_t Overlay::page_end(std::uint64_t offset_bytes) const {
    return std::min(bytes_, (offset_bytes / kPageBytes + 1) * kPageBytes);
}

Status Overlay::read(std::uint64_t offset_bytes, MutableByteSpan into) {
    TRY_STATUS(within(offset_bytes, into.size()));
    const std::shared_lock lock(mutex_);
    const std::uint64_t end = offset_bytes + into.size();
    for (std::uint64_t at = offset_bytes; at < end;) {
        // Pages of one kind are one read.
        const bool ours = written_[at / kPageBytes];
        std::uint64_t stop = page_end(at);
        while (stop < end && written_[stop / kPageBytes] == ours)
            stop = page_end(stop);
        stop = std::min(stop, end);
        const MutableByteSpan some = into.subspan(at - offset_bytes, stop - at);
        TRY_STATUS(ours ? get(scratch_.get(), at, some) : below_.read(at, some));
        at = stop;
    }
    return {};
}

// The point's page, in the scratch. Not marked yet.
Status Overlay::fill_page(std::uint64_t page) {
    std::array<std::byte, kPageBytes> bytes{};
    const std::uint64_t from = page * kPageBytes;
    const MutableByteSpan its = MutableByteSpan(bytes).first(page_end(from) - from);
    TRY_STATUS(below_.read(from, its));
    return put(scratch_.get(), from, its);
}

Status Overlay::write(std::uint64_t offset_bytes, ByteSpan from) {
    TRY_STATUS(within(offset_bytes, from.size()));
    if (from.empty()) return {};
    const std::unique_lock lock(mutex_);
    return write_some(offset_bytes, from);
}

Status Overlay::write_some(std::uint64_t offset_bytes, ByteSpan from) {
    const std::uint64_t end = offset_bytes + from.size();
    const std::uint64_t first = offset_bytes / kPageBytes;
    const std::uint64_t last = (end - 1) / kPageBytes;
    if (offset_bytes % kPageBytes != 0 && !written_[first]) TRY_STATUS(fill_page(first));
    const bool cuts_last = end != page_end(end - 1);
    const bool filled = last == first && offset_bytes % kPageBytes != 0;
    if (cuts_last && !filled && !written_[last]) TRY_STATUS(fill_page(last));
    TRY_STATUS(put(scratch_.get(), offset_bytes, from));
    std::fill(written_.begin() + static_cast<std::ptrdiff_t>(first),
              written_.begin() + static_cast<std::ptrdiff_t>(last) + 1, true);
    return {};
}

Status Overlay::zero(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
    TRY_STATUS(within(offset_bytes, length_bytes));
    static constexpr std::array<std::byte, kPageBytes> kZeros{};
    const std::unique_lock lock(mutex_);
    const std::uint64_t end = offset_bytes + length_bytes;
    for (std::uint64_t at = offset_bytes; at < end;) {
        const std::uint64_t stop = std::min(page_end(at), end);
        const bool whole = at % kPageBytes == 0 && stop == page_end(at);
        const std::uint64_t pages_end = end == bytes_ ? end : end / kPageBytes * kPageBytes;
        if (!whole) {
            TRY_STATUS(write_some(at, ByteSpan(kZeros).first(stop - at)));
            at = stop;
            continue;
        }
        if (::fallocate(scratch_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                        static_cast<off_t>(at), static_cast<off_t>(pages_end - at)) != 0)
            return fail_errno("making room in the overlay's scratch file");
        std::fill(written_.begin() + static_cast<std::ptrdiff_t>(at / kPageBytes),
                  written_.begin() + static_cast<std::ptrdiff_t>((pages_end - 1) / kPageBytes) + 1,
                  true);
        at = pages_end;
    }
    return {};
}

Result<Overlay::Stretch> Overlay::look(std::uint64_t from_bytes, std::uint64_t end_bytes) {
    TRY_STATUS(within(from_bytes, end_bytes - from_bytes));
    const std::shared_lock lock(mutex_);
    const bool ours = written_[from_bytes / kPageBytes];
    std::uint64_t stop = page_end(from_bytes);
    while (stop < end_bytes && written_[stop / kPageBytes] == ours)
        stop = page_end(stop);
    stop = std::min(stop, end_bytes);
    if (!ours) return Stretch{stop, Kind::kBelow};
    // Pages that are the scratch's and have no room in it are zeros. (Its position is nobody's.)
    const auto from = static_cast<off_t>(from_bytes);
    off_t data = ::lseek(scratch_.get(), from, SEEK_DATA);
    if (data < 0 && errno != ENXIO) return fail_errno("looking at the overlay's scratch");
    if (data < 0) data = static_cast<off_t>(bytes_);
    if (data > from) return Stretch{std::min(stop, static_cast<std::uint64_t>(data)), Kind::kZeros};
    const off_t hole = ::lseek(scratch_.get(), from, SEEK_HOLE);
    if (hole < 0) return fail_errno("looking at the overlay's scratch");
    return Stretch{std::min(stop, static_cast<std::uint64_t>(hole)), Kind::kWritten};
}

}  // namespace towline
