// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "io/result.hpp"

namespace towline {

// How far this host has seen the logs of vaults that others keep. A log's last entry is never
// removed, so that its number only rises: who shows a lower one withholds what was sealed since.
class SeenLogs {
  public:
    // An empty folder: nothing is noted, and nothing known.
    explicit SeenLogs(std::filesystem::path folder) : folder_(std::move(folder)) {}

    // `log`: as the keeper names it, which no other vault's is. kCorrupt when it ends before what
    // was seen of it. Where nothing can be noted (another user's folder), nothing is.
    Status judge(const std::string& log, std::uint64_t last_number) const;

  private:
    std::filesystem::path folder_;
};

}  // namespace towline
