// SPDX-License-Identifier: Apache-2.0
#pragma once

// The few calls of a filesystem that a folder of objects is made of: the system's own, or simulated
// ones that lose what was not synced. Paths are relative to one folder, and never lead out of it.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/bytes.hpp"
#include "io/result.hpp"

namespace towline {

// A file that has no name yet.
class LayerFile {
  public:
    virtual ~LayerFile() = default;
    // Offsets are multiples of 4096; so are lengths, but the last one's.
    virtual Status write(std::uint64_t offset_bytes, ByteSpan bytes) = 0;
    // Cuts or grows, then makes contents and length durable.
    virtual Status finish(std::uint64_t length_bytes) = 0;
    // Gives it the name; false when another has it. Durable with the folder's next sync.
    virtual Result<bool> publish(const std::string& path) = 0;
};

struct LayerEntry {
    std::string name;
    std::uint64_t bytes = 0;
    bool folder = false;
};

class FileLayer {
  public:
    virtual ~FileLayer() = default;

    virtual Result<std::unique_ptr<LayerFile>> create() = 0;
    virtual Result<std::size_t> read(const std::string& path, std::uint64_t offset_bytes,
                                     MutableByteSpan into) = 0;
    // Of a file; nothing when there is none.
    virtual Result<std::optional<std::uint64_t>> size(const std::string& path) = 0;
    // Empty where there is no such folder.
    virtual Result<std::vector<LayerEntry>> list(const std::string& folder) = 0;
    // What is not there counts as removed.
    virtual Status unlink(const std::string& path) = 0;
    // With its parents, durably.
    virtual Status make_folder(const std::string& folder) = 0;
    virtual Status sync_folder(const std::string& folder) = 0;
    // What the system keeps of the file in memory is dropped: the next read comes from the disk.
    virtual void forget(const std::string& /*path*/) {}
    // Files that a crash left before they had their names: bytes given back.
    virtual Result<std::uint64_t> sweep() = 0;
};

// The folder itself is there already.
Result<std::unique_ptr<FileLayer>> system_file_layer(const std::filesystem::path& folder);

}  // namespace towline
