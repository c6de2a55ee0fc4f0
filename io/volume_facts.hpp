// SPDX-License-Identifier: Apache-2.0
#pragma once

// What lies on a volume: its partitions, and its filesystems. By libblkid, that is given a copy of
// the few places it looks at.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "io/bytes.hpp"
#include "io/result.hpp"

namespace towline {

// A filesystem, or a member of something larger (crypto_LUKS, LVM2_member, linux_raid_member,
// swap). Names as blkid(8) has them; an empty type: nothing that is known.
struct FilesystemFacts {
    std::string type;
    std::string uuid;
    std::string label;
    bool operator==(const FilesystemFacts&) const = default;
};

struct PartitionFacts {
    unsigned number = 0;
    std::uint64_t start_bytes = 0;
    std::uint64_t bytes = 0;
    std::string type;  // GPT: a uuid; MBR: 0x and two digits of hex
    std::string uuid;
    std::string name;       // GPT
    bool extended = false;  // MBR: holds the logical ones
    bool logical = false;
    FilesystemFacts filesystem;
    std::uint64_t end_bytes() const { return start_bytes + bytes; }
    bool operator==(const PartitionFacts&) const = default;
};

struct VolumeFacts {
    std::uint64_t bytes = 0;
    std::string table;  // "gpt", "dos"; empty: no partitions
    std::string table_uuid;
    std::uint32_t sector_bytes = 512;  // in which the table counts
    std::vector<PartitionFacts> partitions;
    FilesystemFacts filesystem;  // of the whole volume, where it has no partitions
    bool operator==(const VolumeFacts&) const = default;
};

// Any range within the volume.
using ReadVolume = std::function<Status(std::uint64_t offset_bytes, MutableByteSpan into)>;

// Reads a few MiB of it at most. What nothing is known of is no error; what cannot be read is.
Result<VolumeFacts> look_at_volume(std::uint64_t volume_bytes, const ReadVolume& read);

}  // namespace towline
