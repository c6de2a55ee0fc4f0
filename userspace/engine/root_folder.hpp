// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "io/fd.hpp"
#include "io/result.hpp"
#include "io/volume.hpp"

namespace towline {

// The folder that a peer's volumes live in. Names come from that peer and are believed in nothing:
// they resolve beneath the folder or not at all, whatever links lie in it. A device is offered to
// peers by a device node inside (mknod); a symbolic link to /dev leads out and is refused.
class RootFolder {
  public:
    static Result<RootFolder> open(const std::filesystem::path& path);

    Result<Volume> open_volume(std::string_view name, Access access) const;
    // A new image file of this size, all hole, that is there after a crash. Only this user may read
    // it. Folders on the way must be there.
    Result<Volume> create(std::string_view name, std::uint64_t size_bytes) const;
    // Whatever it is; that it cannot be reached is an error, not "no".
    Result<bool> exists(std::string_view name) const;

    // Where that name is, or would be.
    Result<Fd> open_folder_of(std::string_view name) const;

    const std::filesystem::path& path() const { return path_; }

  private:
    RootFolder() = default;
    Result<Fd> open_parent(std::string_view name) const;

    Fd fd_;
    std::filesystem::path path_;
};

// The form of a volume's name, before any file is looked at: "disk0", "customer/disk0".
Status check_volume_name(std::string_view name);

}  // namespace towline
