// SPDX-License-Identifier: Apache-2.0
// Bytes of a volume at any offset and of any length, outside the data path.
//
// Everything read comes by O_DIRECT where the volume has it, through a bounce buffer, tails
// included: a live volume is never read through the page cache. One thing is written through it:
// the piece behind an image file's last whole aligned block, which O_DIRECT cannot write without
// making the file longer than it is, for a crash to find. The kernel keeps both views together: a
// direct read first writes such pages back.

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <new>
#include <unistd.h>

#include "io/volume.hpp"

namespace towline {
namespace {

constexpr std::size_t kWindowBytes = 1 << 20;

std::uint64_t round_down(std::uint64_t value, std::uint64_t alignment) {
    return value - value % alignment;
}

std::uint64_t round_up(std::uint64_t value, std::uint64_t alignment) {
    return round_down(value + alignment - 1, alignment);
}

// Memory that O_DIRECT takes.
class Bounce {
  public:
    Bounce(std::size_t alignment_bytes, std::size_t size_bytes)
        : alignment_(std::align_val_t{alignment_bytes}),
          data_(static_cast<std::byte*>(::operator new(size_bytes, alignment_))) {}
    Bounce(const Bounce&) = delete;
    Bounce& operator=(const Bounce&) = delete;
    ~Bounce() { ::operator delete(data_, alignment_); }
    std::byte* data() const { return data_; }

  private:
    std::align_val_t alignment_;
    std::byte* data_;
};

Result<std::size_t> read_once(int fd, std::byte* into, std::size_t length, std::uint64_t offset,
                              const std::string& name) {
    for (;;) {
        const ssize_t got = ::pread(fd, into, length, static_cast<off_t>(offset));
        if (got >= 0) return static_cast<std::size_t>(got);
        if (errno != EINTR)
            return fail_errno("reading " + name + " at byte " + std::to_string(offset));
    }
}

Status write_all(int fd, std::span<const std::byte> from, std::uint64_t offset,
                 const std::string& name) {
    while (!from.empty()) {
        const ssize_t put = ::pwrite(fd, from.data(), from.size(), static_cast<off_t>(offset));
        if (put < 0 && errno == EINTR) continue;
        // A device that takes nothing more has come to its end.
        if (put <= 0)
            return fail_errno(put == 0 ? ENOSPC : errno,
                              "writing " + name + " at byte " + std::to_string(offset));
        from = from.subspan(static_cast<std::size_t>(put));
        offset += static_cast<std::uint64_t>(put);
    }
    return {};
}

}  // namespace

Status Volume::within(std::uint64_t offset_bytes, std::uint64_t length_bytes) const {
    if (offset_bytes <= size_bytes_ && length_bytes <= size_bytes_ - offset_bytes) return {};
    return fail(Code::kInvalid, std::to_string(length_bytes) + " bytes at " +
                                    std::to_string(offset_bytes) + " are beyond the end of " +
                                    name_ + " (" + std::to_string(size_bytes_) + " bytes)");
}

Status Volume::read_at(std::uint64_t offset_bytes, std::vector<std::byte>& into) const {
    TRY_STATUS(within(offset_bytes, into.size()));
    if (into.empty()) return {};
    const std::uint64_t end = offset_bytes + into.size();
    const std::uint64_t span =
        round_up(end, alignment_bytes_) - round_down(offset_bytes, alignment_bytes_);
    const std::size_t window_max =
        std::min<std::uint64_t>(span, std::max<std::size_t>(kWindowBytes, alignment_bytes_));
    const Bounce bounce(alignment_bytes_, window_max);

    std::uint64_t at = offset_bytes;
    while (at < end) {
        const std::uint64_t start = round_down(at, alignment_bytes_);
        const std::size_t length =
            std::min<std::uint64_t>(window_max, round_up(end, alignment_bytes_) - start);
        const std::size_t got = TRY(read_once(fd_.get(), bounce.data(), length, start, name_));
        const std::size_t skipped = at - start;
        if (got <= skipped)
            return fail(Code::kIo, name_ + " ends at byte " + std::to_string(start + got) +
                                       " and was " + std::to_string(size_bytes_) +
                                       " bytes long when opened; open it again");
        const std::size_t taken = std::min<std::uint64_t>(got - skipped, end - at);
        std::memcpy(into.data() + (at - offset_bytes), bounce.data() + skipped, taken);
        at += taken;
    }
    return {};
}

Status Volume::write_at(std::uint64_t offset_bytes, const std::vector<std::byte>& from) {
    TRY_STATUS(refuse_write());
    TRY_STATUS(within(offset_bytes, from.size()));
    const std::span<const std::byte> bytes(from);
    if (!direct_) return write_buffered(offset_bytes, bytes);

    std::uint64_t tail = size_bytes_;
    if (kind_ == VolumeKind::kImageFile) tail = round_down(size_bytes_, alignment_bytes_);
    const std::uint64_t before_tail = tail > offset_bytes ? tail - offset_bytes : 0;
    const std::size_t direct_bytes = std::min<std::uint64_t>(before_tail, bytes.size());
    TRY_STATUS(write_direct(offset_bytes, bytes.first(direct_bytes)));
    return write_buffered(offset_bytes + direct_bytes, bytes.subspan(direct_bytes));
}

Status Volume::write_direct(std::uint64_t offset_bytes, std::span<const std::byte> from) {
    if (from.empty()) return {};
    const std::uint64_t end = offset_bytes + from.size();
    const std::size_t window_max = std::max<std::size_t>(kWindowBytes, alignment_bytes_);
    const Bounce bounce(alignment_bytes_, window_max);

    std::uint64_t at = offset_bytes;
    while (at < end) {
        const std::uint64_t start = round_down(at, alignment_bytes_);
        const std::uint64_t stop =
            std::min({start + window_max, round_up(end, alignment_bytes_), size_bytes_});
        const std::size_t length = stop - start;
        if (start < at || stop > end) {
            const std::size_t got = TRY(read_once(fd_.get(), bounce.data(), length, start, name_));
            if (got < length)
                return fail(Code::kIo, name_ + " gave fewer bytes than its size at byte " +
                                           std::to_string(start) + "; open it again");
        }
        const std::size_t taken = std::min(stop, end) - at;
        std::memcpy(bounce.data() + (at - start), from.data() + (at - offset_bytes), taken);
        TRY_STATUS(write_all(fd_.get(), {bounce.data(), length}, start, name_));
        at += taken;
    }
    return {};
}

Status Volume::write_buffered(std::uint64_t offset_bytes, std::span<const std::byte> from) {
    if (from.empty()) return {};
    if (!direct_) return write_all(fd_.get(), from, offset_bytes, name_);
    const std::string link = "/proc/self/fd/" + std::to_string(fd_.get());
    const Fd buffered(::open(link.c_str(), O_WRONLY | O_CLOEXEC));
    if (!buffered) return fail_errno("opening " + name_ + " for its tail");
    return write_all(buffered.get(), from, offset_bytes, name_);
}

}  // namespace towline
