// SPDX-License-Identifier: Apache-2.0
// The files of a mounted point. What they hold changes through this mount alone, if at all, so the
// kernel may keep all that it was told: pages, names and attributes.

#include "userspace/vault/point_fuse.hpp"

#include <algorithm>
#include <fcntl.h>
#include <linux/falloc.h>
#include <optional>
#include <sys/statvfs.h>
#include <unistd.h>

#include "userspace/vault/point_folder.hpp"

namespace towline {

namespace {

constexpr fuse_ino_t kRoot = FUSE_ROOT_ID;
constexpr fuse_ino_t kFirstFile = 2;
constexpr double kForeverSeconds = 86400;
constexpr std::uint64_t kSectorBytes = 512;

PointFolder& folder_of(fuse_req_t request) {
    return FuseSession::owner_of<PointFolder>(request);
}

PointFolder::File* file_of(fuse_req_t request, fuse_ino_t inode) {
    auto& files = folder_of(request).files();
    if (inode < kFirstFile || inode - kFirstFile >= files.size()) return nullptr;
    return &files[inode - kFirstFile];
}

void refuse(fuse_req_t request, int error) {
    fuse_reply_err(request, error);
}

std::optional<struct stat> attributes(fuse_req_t request, fuse_ino_t inode) {
    struct stat status {};
    status.st_ino = inode;
    status.st_uid = ::geteuid();
    status.st_gid = ::getegid();
    status.st_blksize = static_cast<blksize_t>(kFuseDataBytesMax);
    status.st_mtim.tv_sec = folder_of(request).created_at();
    status.st_ctim = status.st_atim = status.st_mtim;
    if (inode == kRoot) {
        status.st_mode = S_IFDIR | 0555;
        status.st_nlink = 2;
        return status;
    }
    const PointFolder::File* file = file_of(request, inode);
    if (file == nullptr) return std::nullopt;
    status.st_mode = S_IFREG | (file->overlay ? 0644 : 0444);
    status.st_nlink = 1;
    status.st_size = static_cast<off_t>(file->volume->volume().size_bytes());
    status.st_blocks = static_cast<blkcnt_t>(file->data_bytes_max / kSectorBytes);
    return status;
}

void get_attributes(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
    const auto status = attributes(request, inode);
    if (!status) return refuse(request, ENOENT);
    fuse_reply_attr(request, &*status, kForeverSeconds);
}

void look_up(fuse_req_t request, fuse_ino_t parent, const char* name) {
    const auto& files = folder_of(request).files();
    const auto found = std::ranges::find(files, std::string_view(name), &PointFolder::File::name);
    if (parent != kRoot || found == files.end()) return refuse(request, ENOENT);
    struct fuse_entry_param entry {};
    entry.ino = kFirstFile + static_cast<fuse_ino_t>(found - files.begin());
    entry.attr = *attributes(request, entry.ino);
    entry.attr_timeout = kForeverSeconds;
    entry.entry_timeout = kForeverSeconds;
    fuse_reply_entry(request, &entry);
}

void read_folder(fuse_req_t request, fuse_ino_t inode, std::size_t size, off_t offset,
                 fuse_file_info*) {
    if (inode != kRoot) return refuse(request, ENOTDIR);
    std::vector<std::pair<std::string, fuse_ino_t>> entries{{".", kRoot}, {"..", kRoot}};
    for (const PointFolder::File& each : folder_of(request).files())
        entries.emplace_back(each.name, entries.size() - 2 + kFirstFile);
    std::vector<char> listing(std::min<std::size_t>(size, kFuseDataBytesMax));
    std::size_t filled = 0;
    for (auto i = static_cast<std::size_t>(std::max<off_t>(offset, 0)); i < entries.size(); ++i) {
        struct stat status {};
        status.st_ino = entries[i].second;
        status.st_mode = i < 2 ? S_IFDIR : S_IFREG;
        const std::size_t taken =
            fuse_add_direntry(request, listing.data() + filled, listing.size() - filled,
                              entries[i].first.c_str(), &status, static_cast<off_t>(i + 1));
        if (filled + taken > listing.size()) break;
        filled += taken;
    }
    fuse_reply_buf(request, listing.data(), filled);
}

void open_file(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info) {
    if (file_of(request, inode) == nullptr) return refuse(request, EISDIR);
    const bool writes = (info->flags & (O_ACCMODE | O_TRUNC)) != O_RDONLY;
    if (writes && !file_of(request, inode)->overlay) return refuse(request, EROFS);
    if ((info->flags & O_TRUNC) != 0) return refuse(request, EPERM);
    info->keep_cache = 1;
    info->noflush = 1;
    fuse_reply_open(request, info);
}

void read_file_data(fuse_req_t request, fuse_ino_t inode, std::size_t size, off_t offset,
                    fuse_file_info*) {
    PointFolder::File* file = file_of(request, inode);
    if (file == nullptr || size > kFuseDataBytesMax || offset < 0) return refuse(request, EINVAL);
    const std::uint64_t length = file->volume->volume().size_bytes();
    const auto from = std::min(static_cast<std::uint64_t>(offset), length);
    const MutableByteSpan into =
        FuseSession::scratch().first(std::min<std::uint64_t>(size, length - from));
    const Status read =
        file->overlay ? file->overlay->read(from, into) : file->volume->read(from, into);
    if (!read) return refuse(request, folder_of(request).told(read.error()));
    fuse_reply_buf(request, reinterpret_cast<const char*>(into.data()), into.size());
}

void write_file_data(fuse_req_t request, fuse_ino_t inode, const char* data, std::size_t size,
                     off_t offset, fuse_file_info*) {
    const PointFolder::File* file = file_of(request, inode);
    if (file == nullptr || !file->overlay) return refuse(request, EROFS);
    const Status written = file->overlay->write(static_cast<std::uint64_t>(offset),
                                                std::as_bytes(std::span(data, size)));
    if (!written) return refuse(request, folder_of(request).told(written.error()));
    fuse_reply_write(request, size);
}

// Discards of whoever stands on the file. Its size is the volume's and stays.
void allocate_file(fuse_req_t request, fuse_ino_t inode, int mode, off_t offset, off_t length,
                   fuse_file_info*) {
    const PointFolder::File* file = file_of(request, inode);
    if (file == nullptr || !file->overlay) return refuse(request, EROFS);
    const int what = mode & ~FALLOC_FL_KEEP_SIZE;
    if (what != FALLOC_FL_PUNCH_HOLE && what != FALLOC_FL_ZERO_RANGE)
        return refuse(request, EOPNOTSUPP);
    const std::uint64_t size = file->volume->volume().size_bytes();
    if (offset < 0 || length <= 0) return refuse(request, EINVAL);
    const auto from = std::min(static_cast<std::uint64_t>(offset), size);
    const Status zeroed =
        file->overlay->zero(from, std::min(static_cast<std::uint64_t>(length), size - from));
    refuse(request, zeroed ? 0 : folder_of(request).told(zeroed.error()));
}

// Times that somebody sets are not kept; the size is the volume's.
void set_attributes(fuse_req_t request, fuse_ino_t inode, struct stat* wanted, int what,
                    fuse_file_info*) {
    const PointFolder::File* file = file_of(request, inode);
    if (file == nullptr || !file->overlay) return refuse(request, EROFS);
    const bool resizes =
        (what & FUSE_SET_ATTR_SIZE) != 0 &&
        static_cast<std::uint64_t>(wanted->st_size) != file->volume->volume().size_bytes();
    constexpr int kKept = FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID;
    if (resizes || (what & kKept) != 0) return refuse(request, EPERM);
    get_attributes(request, inode, nullptr);
}

// The scratch goes with this process, and need not be more durable than that.
void sync_file(fuse_req_t request, fuse_ino_t, int, fuse_file_info*) {
    refuse(request, 0);
}

// Holes are whole blocks that are zeros.
Result<std::uint64_t> sought(VolumeReader& volume, std::uint64_t offset, int whence) {
    const std::uint64_t block = offset / volume.block_bytes();
    const std::uint64_t found =
        whence == SEEK_DATA ? TRY(volume.next_data(block)) : TRY(volume.next_zeros(block));
    return std::min(volume.size_bytes(), std::max(offset, found * volume.block_bytes()));
}

void seek_file(fuse_req_t request, fuse_ino_t inode, off_t offset, int whence, fuse_file_info*) {
    PointFolder::File* file = file_of(request, inode);
    if (file == nullptr || (whence != SEEK_DATA && whence != SEEK_HOLE))
        return refuse(request, EINVAL);
    VolumeReader& volume = file->volume->volume();
    const auto from = static_cast<std::uint64_t>(offset);
    if (offset < 0 || from >= volume.size_bytes()) return refuse(request, ENXIO);
    if (file->overlay)  // may have been written to anywhere
        return void(fuse_reply_lseek(
            request, whence == SEEK_DATA ? offset : static_cast<off_t>(volume.size_bytes())));
    const auto found = sought(volume, from, whence);
    if (!found) return refuse(request, folder_of(request).told(found.error()));
    if (whence == SEEK_DATA && *found == volume.size_bytes()) return refuse(request, ENXIO);
    fuse_reply_lseek(request, static_cast<off_t>(*found));
}

void filesystem_status(fuse_req_t request, fuse_ino_t) {
    struct statvfs status {};
    status.f_bsize = status.f_frsize = kFusePageBytes;
    for (const PointFolder::File& each : folder_of(request).files())
        status.f_blocks += each.volume->volume().size_bytes() / kFusePageBytes;
    status.f_files = folder_of(request).files().size() + 1;
    status.f_namemax = 255;
    fuse_reply_statfs(request, &status);
}

fuse_lowlevel_ops table() {
    fuse_lowlevel_ops operations{};
    operations.lookup = look_up;
    operations.getattr = get_attributes;
    operations.readdir = read_folder;
    operations.open = open_file;
    operations.read = read_file_data;
    operations.write = write_file_data;
    operations.fallocate = allocate_file;
    operations.setattr = set_attributes;
    operations.fsync = sync_file;
    operations.lseek = seek_file;
    operations.statfs = filesystem_status;
    return operations;
}

}  // namespace

const fuse_lowlevel_ops& point_operations() {
    static const fuse_lowlevel_ops kOperations = table();
    return kOperations;
}

}  // namespace towline
