// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "io/clock.hpp"
#include "io/result.hpp"

namespace towline {

// Programs of the user that know what writes to a volume: FOLDER/pre-snapshot makes it ready for
// its moment, FOLDER/post-snapshot lets it go on. Either may be missing.
class Hooks {
  public:
    Hooks() = default;
    Hooks(std::filesystem::path folder, Duration limit)
        : folder_(std::move(folder)), limit_(limit) {}

    bool has(const std::string& name) const;
    // With the environment of this process and `more`. Beyond the limit it and what it started are
    // ended: kTimeout. Another end than exit code 0 is kRefused.
    Status run(const std::string& name, const std::map<std::string, std::string>& more) const;

  private:
    std::filesystem::path folder_;
    Duration limit_ = std::chrono::seconds(60);
};

}  // namespace towline
