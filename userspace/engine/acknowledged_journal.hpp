// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include "cbt/extent.hpp"
#include "io/fd.hpp"
#include "io/result.hpp"

namespace towline {

// Which ranges of the unfinished run are durable, as entries that are appended and synced. An entry
// that a crash tore is the end of the journal: it was never acknowledged.
class AcknowledgedJournal {
  public:
    static Result<AcknowledgedJournal> open(const std::filesystem::path& path);

    Status append(std::span<const Extent> extents);
    Result<std::vector<Extent>> load() const;
    Status clear();

  private:
    AcknowledgedJournal() = default;
    Fd fd_;
    std::uint64_t end_bytes_ = 0;  // of the last whole entry: a torn one behind it is overwritten
};

}  // namespace towline
