// SPDX-License-Identifier: Apache-2.0
// What the kernel may ask of a tracked mount. Inodes are fixed: the root, `volume`, `control`, and
// one for each epoch that a snapshot is of. `volume` is opened for direct I/O, so that no page
// cache of the mount stands between a writer and the tracking, and writes to it may run side by
// side.

#include "cbt/fuse/fuse_operations.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fuse.h>
#include <optional>
#include <string_view>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cbt/fuse/fuse_server.hpp"

namespace towline {

namespace {

constexpr fuse_ino_t kRoot = FUSE_ROOT_ID;
constexpr fuse_ino_t kVolume = 2;
constexpr fuse_ino_t kControl = 3;
constexpr fuse_ino_t kSnapshots = 0x1000;  // plus the epoch
constexpr std::string_view kSnapshotPrefix = "snapshot-";
constexpr double kAttributeSeconds = 1.0;
// Of reads and writes that nobody waits for, as a loop device's, the kernel hands out 12 at once if
// it is told nothing, and whoever asked for more finds himself waiting for an answer to wake him.
constexpr unsigned kAtOnceMax = 64;

FuseServer& server_of(fuse_req_t request) {
    return FuseSession::owner_of<FuseServer>(request);
}

TrackedImage& image_of(fuse_req_t request) {
    return *server_of(request).served().image;
}

void refuse(fuse_req_t request, int error) {
    fuse_reply_err(request, error);
}

int errno_of(const Error& error) {
    return error.system_errno > 0 ? error.system_errno : EIO;
}

bool is_snapshot(fuse_ino_t inode) {
    return inode > kSnapshots;
}

void begin_connection(void*, struct fuse_conn_info* connection) {
    connection->max_background = kAtOnceMax;
    connection->congestion_threshold = kAtOnceMax;
}

// --- attributes ---------------------------------------------------------------------------------

std::optional<struct stat> attributes(fuse_req_t request, fuse_ino_t inode) {
    struct stat image {};
    const ServedImage& served = server_of(request).served();
    if (::fstat(served.image_fd, &image) != 0) return std::nullopt;
    struct stat status {};
    status.st_ino = inode;
    status.st_uid = image.st_uid;
    status.st_gid = image.st_gid;
    status.st_nlink = 1;
    status.st_mtim = image.st_mtim;
    status.st_ctim = image.st_ctim;
    status.st_atim = image.st_atim;
    status.st_blksize = static_cast<blksize_t>(kFusePageBytes);
    if (inode == kRoot) {
        status.st_mode = S_IFDIR | 0700;
        status.st_nlink = 2;
    } else if (inode == kVolume) {
        status.st_mode = S_IFREG | (image.st_mode & 0666);
        status.st_size = static_cast<off_t>(served.image->size_bytes());
        status.st_blocks = image.st_blocks;
    } else if (inode == kControl) {
        status.st_mode = S_IFLNK | 0777;
        status.st_size = static_cast<off_t>(served.control_path.size());
    } else {
        const auto snapshot = served.image->snapshot_status();
        if (!snapshot || snapshot->sequence != inode - kSnapshots) return std::nullopt;
        status.st_mode = S_IFREG | (image.st_mode & 0444);
        status.st_size = static_cast<off_t>(snapshot->volume_bytes);
        status.st_blocks = status.st_size / 512;
    }
    // Whoever may read the image may see the folder.
    if (inode == kRoot && (image.st_mode & 0004) != 0) status.st_mode |= 0055;
    return status;
}

void get_attributes(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
    const auto status = attributes(request, inode);
    if (!status) return refuse(request, ENOENT);
    fuse_reply_attr(request, &*status, kAttributeSeconds);
}

void set_attributes(fuse_req_t request, fuse_ino_t inode, struct stat* wanted, int what,
                    fuse_file_info*) {
    if (inode != kVolume) return refuse(request, is_snapshot(inode) ? EROFS : EPERM);
    // Owner and mode are the image's.
    if ((what & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) != 0)
        return refuse(request, EPERM);
    if ((what & FUSE_SET_ATTR_SIZE) != 0) {
        if (wanted->st_size < 0) return refuse(request, EINVAL);
        const Status resized =
            image_of(request).resize(static_cast<std::uint64_t>(wanted->st_size));
        if (!resized) return refuse(request, errno_of(resized.error()));
    }
    get_attributes(request, inode, nullptr);
}

std::optional<fuse_ino_t> inode_of(std::string_view name) {
    if (name == "volume") return kVolume;
    if (name == "control") return kControl;
    if (!name.starts_with(kSnapshotPrefix)) return std::nullopt;
    name.remove_prefix(kSnapshotPrefix.size());
    std::uint64_t sequence = 0;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), sequence);
    if (parsed.ec != std::errc() || parsed.ptr != name.data() + name.size() || sequence == 0)
        return std::nullopt;
    return kSnapshots + sequence;
}

void look_up(fuse_req_t request, fuse_ino_t parent, const char* name) {
    const auto inode = parent == kRoot ? inode_of(name) : std::nullopt;
    const auto status = inode ? attributes(request, *inode) : std::nullopt;
    if (!status) return refuse(request, ENOENT);
    struct fuse_entry_param entry {};
    entry.ino = *inode;
    entry.attr = *status;
    entry.attr_timeout = kAttributeSeconds;
    // A snapshot goes when it is removed.
    entry.entry_timeout = is_snapshot(*inode) ? 0 : kAttributeSeconds;
    fuse_reply_entry(request, &entry);
}

void read_link(fuse_req_t request, fuse_ino_t inode) {
    if (inode != kControl) return refuse(request, EINVAL);
    fuse_reply_readlink(request, server_of(request).served().control_path.c_str());
}

void read_folder(fuse_req_t request, fuse_ino_t inode, std::size_t size, off_t offset,
                 fuse_file_info*) {
    if (inode != kRoot) return refuse(request, ENOTDIR);
    std::vector<std::pair<std::string, fuse_ino_t>> entries{
        {".", kRoot}, {"..", kRoot}, {"volume", kVolume}, {"control", kControl}};
    if (const auto snapshot = image_of(request).snapshot_status())
        entries.emplace_back(std::string(kSnapshotPrefix) + std::to_string(snapshot->sequence),
                             kSnapshots + snapshot->sequence);
    std::vector<char> listing(std::min<std::size_t>(size, kFuseDataBytesMax));
    std::size_t filled = 0;
    for (auto i = static_cast<std::size_t>(std::max<off_t>(offset, 0)); i < entries.size(); ++i) {
        struct stat status {};
        status.st_ino = entries[i].second;
        status.st_mode = attributes(request, entries[i].second).value_or(status).st_mode;
        const std::size_t taken =
            fuse_add_direntry(request, listing.data() + filled, listing.size() - filled,
                              entries[i].first.c_str(), &status, static_cast<off_t>(i + 1));
        if (filled + taken > listing.size()) break;
        filled += taken;
    }
    fuse_reply_buf(request, listing.data(), filled);
}

// --- open ---------------------------------------------------------------------------------------

void open_file(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info) {
    if (inode != kVolume && !is_snapshot(inode)) return refuse(request, EISDIR);
    if (is_snapshot(inode)) {
        if ((info->flags & O_ACCMODE) != O_RDONLY) return refuse(request, EROFS);
        if (!server_of(request).open_snapshot(inode - kSnapshots)) return refuse(request, ENOENT);
    }
    // libfuse asks for O_TRUNC to come with the open.
    if (inode == kVolume && (info->flags & O_TRUNC) != 0) {
        const Status cut = image_of(request).resize(0);
        if (!cut) return refuse(request, errno_of(cut.error()));
    }
    // libfuse 3.14 has no name for the flag that lets direct writes run side by side.
    struct fuse_open_out opened {};
    opened.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES | FOPEN_NOFLUSH;
    const bool lost =
        fuse_reply_buf(request, reinterpret_cast<const char*>(&opened), sizeof opened) == -ENOENT;
    // Whoever opened it was interrupted: nobody will close it.
    if (lost && is_snapshot(inode)) server_of(request).close_snapshot(inode - kSnapshots);
}

void release_file(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
    if (is_snapshot(inode)) server_of(request).close_snapshot(inode - kSnapshots);
    refuse(request, 0);
}

// --- data ---------------------------------------------------------------------------------------

void read_file_data(fuse_req_t request, fuse_ino_t inode, std::size_t size, off_t offset,
                    fuse_file_info*) {
    if (size > kFuseDataBytesMax || offset < 0) return refuse(request, EINVAL);
    const Extent range{static_cast<std::uint64_t>(offset), size};
    TrackedImage& image = image_of(request);
    const Result<ByteSpan> data =
        is_snapshot(inode) ? image.read_snapshot(inode - kSnapshots, range, FuseSession::scratch())
                           : image.read(range, FuseSession::scratch());
    if (!data) return refuse(request, errno_of(data.error()));
    fuse_reply_buf(request, reinterpret_cast<const char*>(data->data()), data->size());
}

void write_file_data(fuse_req_t request, fuse_ino_t inode, const char* data, std::size_t size,
                     off_t offset, fuse_file_info*) {
    if (inode != kVolume) return refuse(request, EROFS);
    const Status written = image_of(request).write(static_cast<std::uint64_t>(offset),
                                                   std::as_bytes(std::span(data, size)));
    if (!written) return refuse(request, errno_of(written.error()));
    fuse_reply_write(request, size);
}

void sync_file(fuse_req_t request, fuse_ino_t inode, int, fuse_file_info*) {
    if (inode != kVolume) return refuse(request, 0);
    const Status flushed = image_of(request).flush();
    refuse(request, flushed ? 0 : errno_of(flushed.error()));
}

void allocate_file(fuse_req_t request, fuse_ino_t inode, int mode, off_t offset, off_t length,
                   fuse_file_info*) {
    if (inode != kVolume) return refuse(request, EROFS);
    if (offset < 0 || length <= 0 || offset > INT64_MAX - length) return refuse(request, EINVAL);
    const Extent range{static_cast<std::uint64_t>(offset), static_cast<std::uint64_t>(length)};
    const bool keep_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
    TrackedImage& image = image_of(request);
    Status done;
    switch (mode & ~FALLOC_FL_KEEP_SIZE) {
        case 0:
            done = image.allocate(range, keep_size);
            break;
        case FALLOC_FL_PUNCH_HOLE:
            done = image.zero(range, Zeroing::kPunch, true);
            break;
        case FALLOC_FL_ZERO_RANGE:
            done = image.zero(range, Zeroing::kKeep, keep_size);
            break;
        default:
            return refuse(request, EOPNOTSUPP);
    }
    refuse(request, done ? 0 : errno_of(done.error()));
}

// Where data is: the image's own answer. A snapshot's holes are not known.
void seek_file(fuse_req_t request, fuse_ino_t inode, off_t offset, int whence, fuse_file_info*) {
    if (inode == kVolume) {
        const off_t found = ::lseek(server_of(request).served().image_fd, offset, whence);
        if (found < 0) return refuse(request, errno);
        fuse_reply_lseek(request, found);
        return;
    }
    const auto status = attributes(request, inode);
    if (!status) return refuse(request, ENOENT);
    if (offset < 0 || offset >= status->st_size) return refuse(request, ENXIO);
    fuse_reply_lseek(request, whence == SEEK_DATA ? offset : status->st_size);
}

void filesystem_status(fuse_req_t request, fuse_ino_t) {
    struct statvfs status {};
    if (::fstatvfs(server_of(request).served().image_fd, &status) != 0)
        return refuse(request, errno);
    fuse_reply_statfs(request, &status);
}

fuse_lowlevel_ops table() {
    fuse_lowlevel_ops operations{};
    operations.init = begin_connection;
    operations.lookup = look_up;
    operations.getattr = get_attributes;
    operations.setattr = set_attributes;
    operations.readlink = read_link;
    operations.readdir = read_folder;
    operations.open = open_file;
    operations.release = release_file;
    operations.read = read_file_data;
    operations.write = write_file_data;
    operations.fsync = sync_file;
    operations.fallocate = allocate_file;
    operations.lseek = seek_file;
    operations.statfs = filesystem_status;
    return operations;
}

}  // namespace

const fuse_lowlevel_ops& fuse_operations() {
    static const fuse_lowlevel_ops kOperations = table();
    return kOperations;
}

}  // namespace towline
