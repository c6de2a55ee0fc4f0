// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "io/bytes.hpp"

namespace towline {

// Bytes at 64-bit offsets, all zero until written; only what was written takes memory. The contents
// of a simulated disk.
class SparseBytes {
  public:
    void write(std::uint64_t offset_bytes, ByteSpan from);
    void zero(std::uint64_t offset_bytes, std::uint64_t length_bytes);
    void read(std::uint64_t offset_bytes, MutableByteSpan into) const;

  private:
    static constexpr std::uint64_t kChunkBytes = 64 << 10;
    // By chunk index.
    std::map<std::uint64_t, std::vector<std::byte>> chunks_;
};

}  // namespace towline
