// SPDX-License-Identifier: Apache-2.0
// An image file, past the page cache where its filesystem allows. Requests come in any shape; what
// O_DIRECT does not take goes through a bounce buffer (Volume), reads by rounding outward.

#include "cbt/image_backend.hpp"

#include <algorithm>
#include <fcntl.h>
#include <unistd.h>

#include "io/align.hpp"
#include "io/check.hpp"

namespace towline {

namespace {

bool aligned(std::uint64_t value, std::uint64_t alignment) {
    return value % alignment == 0;
}

Status allocate_by(const Volume& volume, int mode, Extent range) {
    while (::fallocate(volume.fd(), mode, static_cast<off_t>(range.offset_bytes),
                       static_cast<off_t>(range.length_bytes)) != 0) {
        if (errno != EINTR) return fail_errno("fallocate on " + volume.name());
    }
    return {};
}

}  // namespace

Result<ByteSpan> FileImage::read(Extent range, MutableByteSpan scratch) {
    const std::uint64_t alignment = volume_.alignment_bytes();
    const std::uint64_t begin = align_down(range.offset_bytes, alignment);
    const std::uint64_t end = align_up(range.end_bytes(), alignment);
    CHECK(end - begin <= scratch.size());
    std::size_t filled = 0;
    while (filled < end - begin) {
        const ssize_t got = ::pread(volume_.fd(), scratch.data() + filled, end - begin - filled,
                                    static_cast<off_t>(begin + filled));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_errno("reading " + volume_.name());
        filled += static_cast<std::size_t>(got);
        // A piece that is no whole unit is the end of the file.
        if (got == 0 || !aligned(static_cast<std::uint64_t>(got), alignment)) break;
    }
    const std::size_t skipped = range.offset_bytes - begin;
    if (filled <= skipped) return ByteSpan();
    return ByteSpan(scratch).subspan(skipped,
                                     std::min<std::size_t>(filled - skipped, range.length_bytes));
}

Status FileImage::write(std::uint64_t offset_bytes, ByteSpan from) {
    const std::uint64_t alignment = volume_.alignment_bytes();
    const bool direct = aligned(offset_bytes, alignment) && aligned(from.size(), alignment) &&
                        aligned(reinterpret_cast<std::uintptr_t>(from.data()), alignment);
    if (volume_.direct() && !direct)
        return volume_.write_at(offset_bytes, std::vector(from.begin(), from.end()));
    while (!from.empty()) {
        const ssize_t put =
            ::pwrite(volume_.fd(), from.data(), from.size(), static_cast<off_t>(offset_bytes));
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return fail_errno(put == 0 ? EIO : errno, "writing " + volume_.name());
        from = from.subspan(static_cast<std::size_t>(put));
        offset_bytes += static_cast<std::uint64_t>(put);
    }
    return {};
}

Status FileImage::zero(Extent range, Zeroing how) {
    if (how == Zeroing::kKeep) {
        const Status zeroed =
            allocate_by(volume_, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, range);
        if (zeroed || zeroed.error().system_errno != EOPNOTSUPP) return zeroed;
        // A hole reads as zeros too; only the space is not kept.
    }
    return allocate_by(volume_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, range);
}

Status FileImage::allocate(Extent range) {
    return allocate_by(volume_, FALLOC_FL_KEEP_SIZE, range);
}

Status FileImage::resize(std::uint64_t size_bytes) {
    return volume_.resize(size_bytes);
}

Status FileImage::flush() {
    return volume_.flush();
}

}  // namespace towline
