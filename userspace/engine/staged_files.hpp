// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "io/volume.hpp"
#include "userspace/engine/staged_index.hpp"

namespace towline {

// The two files of a replica's staged run, hidden in a folder, under the replica's own name.
class StagedFiles {
  public:
    StagedFiles(std::filesystem::path folder, const Uuid& target);

    const std::filesystem::path& folder() const { return folder_; }
    // kNoSpace when the folder's filesystem has less than that.
    Status refuse_if_full(std::uint64_t plan_bytes) const;
    // `anew`: emptied. Else what is there; kCorrupt when it is not.
    Result<Volume> open_blocks(bool anew) const;
    Result<std::unique_ptr<StagedFile>> open_index(bool anew) const;
    bool left() const;
    // Gives the space back.
    void remove() const;

  private:
    Result<Fd> open(const std::filesystem::path& path, bool anew) const;

    std::filesystem::path folder_;
    std::filesystem::path index_;
    std::filesystem::path blocks_;
};

}  // namespace towline
