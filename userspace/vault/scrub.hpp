// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "io/clock.hpp"
#include "userspace/vault/block_mender.hpp"
#include "userspace/vault/liveness.hpp"
#include "userspace/vault/segment.hpp"
#include "userspace/vault/series_log.hpp"

namespace towline {

// Something that is not sound, and what it costs.
struct ScrubFinding {
    std::string object;
    std::string what;
    struct Hit {
        std::string name;    // as a user names it: NAME@ID
        std::string volume;  // of the point
        std::vector<Extent> bytes;
    };
    std::vector<Hit> hits;  // points that cannot be read whole
};

struct ScrubReport {
    std::vector<ScrubFinding> findings;
    BadBlocks bad_blocks;  // in segments whose tables can be read
    std::uint64_t objects = 0;
    std::uint64_t bytes = 0;
    std::uint64_t blocks = 0;
    std::uint64_t points = 0;
    std::uint64_t resumed_bytes = 0;  // that an earlier scrub had read
    std::uint64_t garbage_bytes = 0;  // sound, and of no use: prune gives it back

    bool sound() const { return findings.empty(); }
};

// Reads and checks what is stored in a vault, what nobody refers to as well.
class Scrub {
  public:
    struct Options {
        bool blocks = true;     // false: heads, tables and indexes alone (`towline vault check`)
        std::string only = {};  // of the name, as it is encoded; empty: all
        std::uint64_t bytes_per_second = 0;  // 0: no limit
        unsigned threads = 2;
        std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> progress =
            [](auto, auto) {};
        std::function<bool()> cancelled = [] { return false; };
        // Segments that an earlier scrub found sound are not read again; those of this one are
        // told.
        std::set<std::string> sound_before;
        std::function<void(const std::string& object)> on_sound = [](const std::string&) {};
    };

    Scrub(std::shared_ptr<Vault> vault, Options options)
        : vault_(std::move(vault)), options_(std::move(options)) {}

    Result<ScrubReport> run();

  private:
    struct Bad {
        bool whole = false;
        std::vector<std::uint32_t> origins;  // rising
        std::string what;
        std::string object;
    };
    struct Series {
        std::string name;
        SeriesState state;
        std::vector<ObjectId> indexes;
        std::vector<Point> readable;  // points whose indexes are sound
    };
    using Segments = std::map<SegmentKey, std::vector<std::pair<ObjectId, std::uint64_t>>>;

    Status scrub_config();
    Result<Series> look(const std::string& name);
    Result<Segments> list_segments(const std::string& name);
    Status scrub_pool(std::span<const std::string> names);
    Result<Series> scrub_series(const std::string& name);
    // The segments of a name, or those that names share.
    Status scrub_blocks(const Segments& segments, std::span<const Series> shown_by);
    void scrub_log(const Series& series);
    std::vector<std::size_t> scrub_indexes(const Series& series);
    Status scrub_segments(const Segments& segments, std::map<SegmentKey, Bad>& bad);
    Status check_live(const Segments& segments, const std::string& name,
                      const Liveness::Segments& live, std::map<SegmentKey, Bad>& bad);
    Status report_bad(std::span<const Series> shown_by, const std::map<SegmentKey, Bad>& bad);
    Result<Bad> scrub_segment(const OpenSegment& segment) const;
    std::vector<bool> read_blocks(const OpenSegment& segment, std::size_t first, std::size_t end,
                                  MutableByteSpan into) const;
    void find(const std::string& object, const std::string& what);
    void count(std::uint64_t objects, std::uint64_t bytes);
    Status pace();

    std::shared_ptr<Vault> vault_;
    Options options_;
    ScrubReport report_;
    std::uint64_t total_bytes_ = 0;
    Instant began_{};
};

}  // namespace towline
