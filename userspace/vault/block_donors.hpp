// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "userspace/vault/liveness.hpp"
#include "userspace/vault/segment.hpp"

namespace towline {

// Where else there may be a block that is bad in one place: in whatever segment has one of the same
// identity, or else of the same place and CRC. What is found there is a candidate, and no more: for
// an identity it is the block, for a CRC its group's proof has to say so.
class BlockDonors {
  public:
    using Bytes = std::vector<std::byte>;
    static constexpr std::size_t kCandidatesMax = 4;  // of a block

    explicit BlockDonors(std::shared_ptr<Vault> vault) : vault_(std::move(vault)) {}

    void want(const SegmentTable& table, const SegmentEntry& entry);
    // Stored blocks of this segment that are wanted. `bad`: which of them are so themselves.
    void look_into(const OpenSegment& segment, std::span<const std::uint32_t> bad);
    // What may have been stored there: of its kind, its length, and, where there is no identity,
    // its stored CRC. No two are equal.
    std::vector<Bytes> candidates(const SegmentTable& table, const SegmentEntry& entry);

  private:
    static constexpr std::size_t kDonorsMax = 16;  // of a block

    struct Wanted {
        BlockIdentity identity{};
        std::uint64_t seed = 0;
        std::uint64_t block = 0;
        std::uint32_t check = 0;
        auto operator<=>(const Wanted&) const = default;
    };

    static std::optional<Wanted> key_of(const SegmentTable& table, const SegmentEntry& entry);
    bool gives(const OpenSegment& donor, const SegmentTable& table, const SegmentEntry& entry);
    void pack(const SegmentTable& table, const SegmentEntry& entry, std::vector<Bytes>& found);

    std::shared_ptr<Vault> vault_;
    std::map<Wanted, std::vector<OpenSegment>> donors_;  // segments of one block each
    Codec codec_;
    Bytes buffer_;
    ByteSpan stored_;  // of the donor at hand
    Bytes plain_;      // and what it decompresses to
};

}  // namespace towline
