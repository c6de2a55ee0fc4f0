// SPDX-License-Identifier: Apache-2.0
// A volume as the kernel shows it: opened once, its size and alignment learnt at that moment.
//
// Everything is opened in two steps: a descriptor that only names the file (O_PATH), then, when it
// is known to be a block device or a regular file, that very file again through /proc/self/fd. So
// nothing is ever opened for a look that reacts to being opened (a FIFO blocks, a tape rewinds),
// and nobody can put another file in its place in between.

#include "io/volume.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <thread>

#include "io/check.hpp"

#ifndef STATX_DIOALIGN
#error "kernel headers of 6.1 or newer are needed (Debian 12: linux-libc-dev)"
#endif

namespace towline {
namespace {

constexpr std::uint32_t kAlignmentMin = 512;
// No disk asks for more than this where the filesystem doesn't say; its own block may be far
// larger.
constexpr std::uint64_t kAlignmentGuessMax = 4096;

Result<VolumeKind> kind_of(const struct stat& status, const std::string& name) {
    const char* what = "of an unknown type";
    if (S_ISBLK(status.st_mode)) return VolumeKind::kBlockDevice;
    if (S_ISREG(status.st_mode)) return VolumeKind::kImageFile;
    if (S_ISDIR(status.st_mode)) what = "a folder";
    if (S_ISFIFO(status.st_mode)) what = "a FIFO";
    if (S_ISSOCK(status.st_mode)) what = "a socket";
    if (S_ISCHR(status.st_mode)) what = "a character device";
    if (S_ISLNK(status.st_mode)) what = "a symbolic link that was not followed";
    return fail(Code::kRefused,
                name + " is " + what + ", not a volume; name a block device or an image file");
}

std::unexpected<Error> open_failed(int error, const std::string& name, VolumeKind kind,
                                   Access access) {
    const bool writing = access == Access::kReadWrite;
    if (error == EBUSY && writing && kind == VolumeKind::kBlockDevice)
        return std::unexpected(
            Error{Code::kRefused, error,
                  name + " is mounted, or held by swap, LVM, RAID or another program; release it "
                         "(umount, swapoff, vgchange -an, mdadm --stop) or choose another target"});
    if (error == EACCES || error == EPERM || error == EROFS)
        return fail_errno(error, name + " may not be opened for " +
                                     (writing ? "writing; check its owner and mode, and whether it "
                                                "is read-only"
                                              : "reading; check its owner and mode"));
    return fail_errno(error, "opening " + name);
}

int open_flags(VolumeKind kind, Access access) {
    int flags = O_CLOEXEC | O_DIRECT | (access == Access::kReadWrite ? O_RDWR : O_RDONLY);
    // The kernel then refuses a device that is mounted or held, and keeps others off it.
    if (kind == VolumeKind::kBlockDevice && access == Access::kReadWrite) flags |= O_EXCL;
    return flags;
}

// The kernel itself holds a device while it looks for partitions on it, which it may do at any time
// after somebody closed it; and the ring of a killed process keeps its files until what it had in
// flight is done, long after the process is gone. Who holds a device for good and can be named was
// looked for before (userspace/engine/target_safety), so this is no wait for a mounted one.
Fd open_patiently(const std::string& link, int flags) {
    constexpr int kTries = 200;
    constexpr std::chrono::milliseconds kPause{50};
    for (int tries = 1;; ++tries) {
        Fd fd(::open(link.c_str(), flags));
        if (fd || errno != EBUSY || (flags & O_EXCL) == 0 || tries == kTries) return fd;
        std::this_thread::sleep_for(kPause);
    }
}

Result<Fd> open_named(const Fd& named, const std::string& name, VolumeKind kind, Access access) {
    const std::string link = "/proc/self/fd/" + std::to_string(named.get());
    const int flags = open_flags(kind, access);
    Fd fd = open_patiently(link, flags);
    if (!fd && errno == EINVAL && kind == VolumeKind::kImageFile)
        fd = Fd(::open(link.c_str(), flags & ~O_DIRECT));
    if (!fd) return open_failed(errno, name, kind, access);
    return fd;
}

// A descriptor that was opened elsewhere: only its status flags can still be set.
Status make_direct(const Fd& fd, const std::string& name, VolumeKind kind, Access access) {
    const int flags = ::fcntl(fd.get(), F_GETFL);
    if (flags < 0) return fail_errno("reading the flags of " + name);
    const int mode = flags & O_ACCMODE;
    if (mode == O_WRONLY || (access == Access::kReadWrite && mode != O_RDWR))
        return fail(Code::kInvalid, name + " was not opened for " +
                                        (mode == O_WRONLY ? "reading" : "reading and writing"));
    const int wanted = (flags | O_DIRECT) & ~O_APPEND;
    if (::fcntl(fd.get(), F_SETFL, wanted) == 0) return {};
    if (errno == EINVAL && kind == VolumeKind::kImageFile &&
        ::fcntl(fd.get(), F_SETFL, wanted & ~O_DIRECT) == 0)
        return {};
    return fail_errno("setting O_DIRECT on " + name);
}

// What the kernel wants of offsets and memory; nothing when it would not do direct I/O at all.
struct DirectLimits {
    bool known = false;
    std::uint32_t alignment_bytes = 0;
};

DirectLimits direct_limits(int fd) {
    struct statx extended {};
    if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &extended) != 0) return {};
    if ((extended.stx_mask & STATX_DIOALIGN) == 0) return {};
    if (extended.stx_dio_offset_align == 0) return {.known = true};
    return {true, std::max(extended.stx_dio_offset_align, extended.stx_dio_mem_align)};
}

// tmpfs takes O_DIRECT since 6.6 and ignores it: told as buffered, as on the kernels before.
bool in_memory(int fd) {
    struct statfs filesystem {};
    if (::fstatfs(fd, &filesystem) != 0) return false;
    return filesystem.f_type == TMPFS_MAGIC || filesystem.f_type == RAMFS_MAGIC;
}

std::uint32_t filesystem_block(int fd) {
    struct statvfs filesystem {};
    if (::fstatvfs(fd, &filesystem) != 0) return kAlignmentGuessMax;
    const std::uint64_t block = filesystem.f_frsize;
    return static_cast<std::uint32_t>(
        std::clamp<std::uint64_t>(block, kAlignmentMin, kAlignmentGuessMax));
}

std::uint32_t usable_alignment(std::uint32_t asked) {
    return std::bit_ceil(std::max(asked, kAlignmentMin));
}

struct Shape {
    std::uint64_t size_bytes = 0;
    std::uint32_t alignment_bytes = kAlignmentMin;
    bool direct = true;
};

Result<Shape> device_shape(int fd, const std::string& name) {
    Shape shape;
    int sector_bytes = 0;
    if (::ioctl(fd, BLKGETSIZE64, &shape.size_bytes) != 0)
        return fail_errno("reading the size of " + name);
    if (::ioctl(fd, BLKSSZGET, &sector_bytes) != 0 || sector_bytes <= 0)
        return fail_errno("reading the sector size of " + name);
    // Taken for an empty volume, it would replace a good copy by nothing.
    if (shape.size_bytes == 0)
        return fail(Code::kRefused, name +
                                        " has no medium or no backing (its size is 0); attach "
                                        "one or name another device");
    shape.alignment_bytes = usable_alignment(
        std::max(static_cast<std::uint32_t>(sector_bytes), direct_limits(fd).alignment_bytes));
    return shape;
}

Result<Shape> file_shape(int fd, const std::string& name, const struct stat& status) {
    Shape shape;
    shape.size_bytes = static_cast<std::uint64_t>(status.st_size);
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags < 0) return fail_errno("reading the flags of " + name);
    const DirectLimits limits = direct_limits(fd);
    const bool impossible = limits.known && limits.alignment_bytes == 0;
    shape.direct = (flags & O_DIRECT) != 0 && !impossible && !in_memory(fd);
    if (!shape.direct) {
        if (::fcntl(fd, F_SETFL, flags & ~O_DIRECT) != 0)
            return fail_errno("clearing O_DIRECT on " + name);
        return shape;
    }
    shape.alignment_bytes =
        usable_alignment(limits.known ? limits.alignment_bytes : filesystem_block(fd));
    return shape;
}

}  // namespace

Result<Volume> Volume::open(const std::filesystem::path& path, Access access) {
    Fd named(::open(path.c_str(), O_PATH | O_CLOEXEC));
    if (!named && errno == ENOENT)
        return fail_errno(path.string() + " cannot be found; check the path, or create it first");
    if (!named) return fail_errno("opening " + path.string());
    return adopt(std::move(named), path.string(), access);
}

Result<Volume> Volume::adopt(Fd fd, std::string shown, Access access) {
    CHECK(fd);
    Volume volume;
    volume.name_ = std::move(shown);
    volume.access_ = access;
    if (::fstat(fd.get(), &volume.status_) != 0) return fail_errno("looking at " + volume.name_);
    volume.kind_ = TRY(kind_of(volume.status_, volume.name_));

    const int flags = ::fcntl(fd.get(), F_GETFL);
    if (flags < 0) return fail_errno("reading the flags of " + volume.name_);
    if ((flags & O_PATH) != 0) {
        volume.fd_ = TRY(open_named(fd, volume.name_, volume.kind_, access));
    } else {
        TRY_STATUS(make_direct(fd, volume.name_, volume.kind_, access));
        volume.fd_ = std::move(fd);
    }
    TRY_STATUS(volume.learn_shape());
    return volume;
}

Status Volume::learn_shape() {
    if (::fstat(fd_.get(), &status_) != 0) return fail_errno("looking at " + name_);
    const Shape shape =
        TRY(kind_ == VolumeKind::kBlockDevice ? device_shape(fd_.get(), name_)
                                              : file_shape(fd_.get(), name_, status_));
    size_bytes_ = shape.size_bytes;
    alignment_bytes_ = shape.alignment_bytes;
    direct_ = shape.direct;
    return {};
}

Status Volume::resize(std::uint64_t size_bytes) {
    TRY_STATUS(refuse_write());
    if (kind_ != VolumeKind::kImageFile)
        return fail(Code::kRefused, name_ +
                                        " is a device and keeps its size; enlarge it by the "
                                        "means of what provides it");
    if (size_bytes > static_cast<std::uint64_t>(INT64_MAX))
        return fail(Code::kInvalid, "a size of " + std::to_string(size_bytes) + " bytes for " +
                                        name_ + " is beyond what a file can have");
    if (::ftruncate(fd_.get(), static_cast<off_t>(size_bytes)) != 0)
        return fail_errno("resizing " + name_);
    if (::fstat(fd_.get(), &status_) != 0) return fail_errno("looking at " + name_);
    size_bytes_ = size_bytes;
    return {};
}

Status Volume::flush() {
    if (::fdatasync(fd_.get()) != 0) return fail_errno("flushing " + name_);
    return {};
}

Status Volume::refuse_write() const {
    if (access_ == Access::kReadWrite) return {};
    return fail(Code::kInvalid, name_ + " was opened for reading only");
}

}  // namespace towline
