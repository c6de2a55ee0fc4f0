// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "io/result.hpp"

namespace towline {

// A block device of this host, as it is now or as it was when it was imported.
struct CatalogVolume {
    std::string path;  // "/dev/sda1"
    std::string kind;  // disk, partition, mapped, md, loop
    std::string parent;
    std::uint64_t size_bytes = 0;
    std::string filesystem;  // its type; empty: none that is known
    std::string uuid;
    std::string label;
    std::vector<std::string> mounts;
};

nlohmann::json json_of(const CatalogVolume& volume);

// The host's block devices that hold something, by path. What cannot be read of one is left empty.
Result<std::vector<CatalogVolume>> volumes_of_host();

}  // namespace towline
