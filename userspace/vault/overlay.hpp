// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <shared_mutex>
#include <vector>

#include "io/fd.hpp"
#include "userspace/vault/volume_cache.hpp"

namespace towline {

// Writable scratch over a volume of a point. What is written lies in a file without a name, and
// goes with this object, or with the process; the point is read alone. Safe to use from several
// threads.
class Overlay {
  public:
    // `below` outlives it.
    static Result<std::unique_ptr<Overlay>> create(VolumeCache& below,
                                                   const std::filesystem::path& folder);

    // Ranges within the volume.
    Status read(std::uint64_t offset_bytes, MutableByteSpan into);
    Status write(std::uint64_t offset_bytes, ByteSpan from);
    // Zeros, that take no room.
    Status zero(std::uint64_t offset_bytes, std::uint64_t length_bytes);

    // What bytes are, up to an end: nobody wrote to them, somebody did, or they were made zeros.
    enum class Kind { kBelow, kWritten, kZeros };
    struct Stretch {
        std::uint64_t end_bytes = 0;
        Kind kind = Kind::kBelow;
    };
    // From the one byte on, at most up to the other, that is behind it. Not that what follows is
    // of another kind.
    Result<Stretch> look(std::uint64_t from_bytes, std::uint64_t end_bytes);

  private:
    static constexpr std::uint64_t kPageBytes = 4096;

    Overlay(VolumeCache& below, Fd scratch);
    Status within(std::uint64_t offset_bytes, std::uint64_t length_bytes) const;
    std::uint64_t page_end(std::uint64_t offset_bytes) const;
    std::uint64_t page_count(std::uint64_t bytes) const { return (bytes - 1) / kPageBytes + 1; }
    Status fill_page(std::uint64_t page);
    Status write_some(std::uint64_t offset_bytes, ByteSpan from);

    VolumeCache& below_;
    const std::uint64_t bytes_;
    Fd scratch_;
    std::shared_mutex mutex_;
    std::vector<bool> written_;  // under mutex_, a bit a page
};

}  // namespace towline
