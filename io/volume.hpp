// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <sys/stat.h>
#include <vector>

#include "io/fd.hpp"
#include "io/result.hpp"

namespace towline {

enum class VolumeKind { kBlockDevice, kImageFile };
enum class Access { kRead, kReadWrite };

struct DataRange {
    std::uint64_t offset_bytes = 0;
    std::uint64_t length_bytes = 0;
};

// What tells a volume from another one that later carries the same name. Compared as a whole by
// source and target state; serialised as text there.
struct VolumeIdentity {
    std::string kind;     // "device" or "file"
    std::string locator;  // stable name: file: "DEVMAJ:MIN/INODE/BIRTHTIME-NS" ("fsid-HEX" in
                          // place of an anonymous device number); device: by serial/wwid,
                          // partition uuid, or backing file
    std::string
        generation;  // diskseq for a device whose number is reused (loop, nbd, ram), or empty
    // An empty locator tells nothing, and is never the same. Size and filesystem may change in a
    // volume's life.
    bool same_volume(const VolumeIdentity& other) const;
    bool operator==(const VolumeIdentity&) const = default;
};

// A block device, partition, logical volume or image file, opened for O_DIRECT where that is
// possible. Data goes through an IoEngine by fd(); this class holds what is known of the volume and
// the few calls that are made outside of the data path.
class Volume {
  public:
    // kRead opens nothing for writing. An image file on a filesystem without O_DIRECT is opened
    // buffered, and direct() says so; a block device is always direct (rule 10).
    static Result<Volume> open(const std::filesystem::path& path, Access access);
    // The same from a descriptor opened elsewhere (openat2 beneath a root); `shown` is its name to
    // people. An O_PATH descriptor is best: it is opened here with all that `access` asks for. One
    // that is open already gets O_DIRECT only, and a block device so given was not asked to be
    // ours alone (O_EXCL).
    static Result<Volume> adopt(Fd fd, std::string shown, Access access);

    const std::string& name() const { return name_; }
    VolumeKind kind() const { return kind_; }
    int fd() const { return fd_.get(); }
    std::uint64_t size_bytes() const { return size_bytes_; }
    bool direct() const { return direct_; }
    // What offsets, lengths and memory must be multiples of: at least 512.
    std::uint32_t alignment_bytes() const { return alignment_bytes_; }
    const struct stat& status() const { return status_; }

    // Where data may be: everything else is holes that read as zeros. For block devices one range,
    // the whole. At most `ranges_max`; a file in more pieces than that gets neighbouring ranges
    // joined.
    Result<std::vector<DataRange>> data_ranges(std::size_t ranges_max = 1 << 20) const;
    // True when no byte of it was ever written: an image file without any data, or with size 0. A
    // device never is.
    Result<bool> known_empty() const;
    // True when a sample of places (start, end, and some between) has anything but zeros; for a
    // file, holes are passed over. What "a target with data" means.
    Result<bool> has_data() const;

    // Image files only.
    Status resize(std::uint64_t size_bytes);
    Result<VolumeIdentity> identity() const;
    // Of the one filesystem, or of the LVM, RAID or LUKS member on it; empty when there is none, or
    // the signs of several. Reads both ends of the volume.
    Result<std::string> filesystem_uuid() const;

    // Bytes of the volume outside the data path (tails, superblock guards): plain pread/pwrite
    // through an aligned bounce buffer, so that any offset and length work; a write that is not
    // aligned reads its sector first, so nobody else may be writing there meanwhile. The part of an
    // image file behind its last whole aligned block goes through the page cache when written
    // (O_DIRECT would make the file longer); `flush` covers it.
    Status read_at(std::uint64_t offset_bytes, std::vector<std::byte>& into) const;
    Status write_at(std::uint64_t offset_bytes, const std::vector<std::byte>& from);
    Status flush();

  private:
    Volume() = default;
    Status learn_shape();
    Status within(std::uint64_t offset_bytes, std::uint64_t length_bytes) const;
    Status refuse_write() const;
    Status write_direct(std::uint64_t offset_bytes, std::span<const std::byte> from);
    Status write_buffered(std::uint64_t offset_bytes, std::span<const std::byte> from);

    Fd fd_;
    std::string name_;
    Access access_ = Access::kRead;
    VolumeKind kind_ = VolumeKind::kImageFile;
    std::uint64_t size_bytes_ = 0;
    std::uint32_t alignment_bytes_ = 512;
    bool direct_ = false;
    struct stat status_ {};
};

}  // namespace towline
