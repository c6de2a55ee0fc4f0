// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cbt/range_hasher.hpp"
#include "io/checksum.hpp"
#include "transport/messages.hpp"

namespace towline {

// What a record of the run digest says of a range.
enum class RecordKind : std::uint8_t {
    kBlock = 1,     // a block with contents that passed
    kZeros = 2,     // a range of zeros that passed, of any length
    kCompared = 3,  // a block as the target read it in a comparison
    kContent = 4,   // a block with contents as it must read at the end; zero blocks leave no record
};

// Collects a RunDigest. Each record is hashed under the run's secret and summed, so that the order
// in which several connections and disks finish does not matter, and what is missing, doubled or
// moved does.
class RunDigester {
  public:
    explicit RunDigester(const BlockHasher& hasher) : hasher_(hasher) {}

    void add(RecordKind kind, std::uint64_t offset_bytes, std::uint64_t length_bytes,
             Hash128 hash = {});
    const RunDigest& value() const { return digest_; }

  private:
    const BlockHasher& hasher_;
    RunDigest digest_;
};

// The records of a piece of a comparison; `extent` is the range of its blocks.
void add_compared(RunDigester& digester, const DigestsMessage& message, Extent extent);
// The records of a piece of what was read back; `map` has its geometry.
void add_content(RunDigester& digester, const ChangeMap& map, const HashPass::Piece& piece);

}  // namespace towline
