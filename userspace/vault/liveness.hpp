// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <set>
#include <span>
#include <vector>

#include "cbt/extent.hpp"
#include "userspace/vault/vault.hpp"

namespace towline {

// A segment, whatever its generation.
struct SegmentKey {
    Uuid writer;
    std::uint64_t serial = 0;
    auto operator<=>(const SegmentKey&) const = default;
};

// A block that some point shows, as its index says it.
struct LiveBlock {
    std::uint32_t origin = 0;
    std::uint32_t stored_bytes : 24 = 0;
    std::uint32_t kind : 8 = 0;
    std::uint32_t check = 0;
    std::uint32_t start = 0;  // what that was continued from: the volume and the place
    std::uint64_t block = 0;
    bool operator==(const LiveBlock&) const = default;
};

// What the points of a name show of its segments. Reads indexes, each once however many points have
// it, and no data.
class Liveness {
  public:
    using Segments = std::map<SegmentKey, std::vector<LiveBlock>>;  // by origin
    using Progress = std::function<void(std::uint64_t done, std::uint64_t total)>;

    // An index that cannot be read is an error.
    static Result<Segments> of(const Vault& vault, const std::string& series,
                               std::span<const Point> points, const Progress& progress = {});

    // The same, block by block: one that several places show comes as often.
    using Each = std::function<void(const SegmentKey&, const LiveBlock&)>;
    static Status for_each(const Vault& vault, const std::string& series,
                           std::span<const Point> points, const Each& each,
                           const Progress& progress = {});

    // Where the points show blocks that are bad: by the place of the point in `points`, and of the
    // volume in the point.
    using IsBad = std::function<bool(const SegmentKey&, std::uint32_t origin)>;
    using Hits = std::map<std::pair<std::size_t, std::size_t>, std::vector<Extent>>;
    static Result<Hits> hit_by(const Vault& vault, const std::string& series,
                               std::span<const Point> points, const IsBad& is_bad);
};

}  // namespace towline
