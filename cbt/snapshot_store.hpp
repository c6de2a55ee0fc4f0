// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>

#include "io/bytes.hpp"
#include "io/fd.hpp"
#include "io/result.hpp"

namespace towline {

// Where a snapshot keeps what was overwritten: slots of one chunk each. Any thread may call; a slot
// is put once, before anybody gets it. Offsets in a slot, lengths and memory are multiples of 4096.
class SnapshotStore {
  public:
    virtual ~SnapshotStore() = default;
    virtual std::uint64_t slot_count() const = 0;
    virtual Status put(std::uint64_t slot, ByteSpan chunk) = 0;
    virtual Status get(std::uint64_t slot, std::uint64_t offset_bytes, MutableByteSpan into) = 0;
};

// A file without a name, so that nothing is left of it when the process ends, with all of its space
// set aside: it is full when its slots are, not when the disk is.
class FileSnapshotStore : public SnapshotStore {
  public:
    // kNoSpace when the folder's disk has not got that much.
    static Result<FileSnapshotStore> create(const std::filesystem::path& folder,
                                            std::uint64_t store_bytes, std::uint32_t chunk_bytes);

    std::uint64_t slot_count() const override { return slot_count_; }
    Status put(std::uint64_t slot, ByteSpan chunk) override;
    Status get(std::uint64_t slot, std::uint64_t offset_bytes, MutableByteSpan into) override;

  private:
    Fd fd_;
    std::uint32_t chunk_bytes_ = 0;
    std::uint64_t slot_count_ = 0;
};

}  // namespace towline
