// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "cbt/extent.hpp"
#include "userspace/vault/segment_writer.hpp"
#include "userspace/vault/series_log.hpp"
#include "userspace/vault/volume_reader.hpp"

namespace towline {

// One run into a vault, from begin to seal. One thread at a time; every call may block on the
// store. Whatever fails or dies before seal() has returned leaves the points as they were.
class RunWriter {
  public:
    struct Plan {
        TargetRecord state;  // as it is while the run goes on
        std::uint32_t block_bytes = 0;
        std::string volume_name;
        bool resume = false;  // go on with the unfinished run of this name
    };
    // A block as it came over the wire, checked.
    struct Block {
        std::uint64_t block = 0;
        std::uint8_t kind = 0;
        std::uint32_t check = 0;
    };
    struct Sealing {
        TargetRecord state;  // sealed
        RunMode mode{};
        bool reread = false;
        std::string digest;
        std::string label = "unknown";
    };

    // Takes the name: `held` is the right to. kBusy when another writer came between.
    static Result<std::unique_ptr<RunWriter>> begin(std::shared_ptr<Vault> vault,
                                                    const std::string& series,
                                                    std::shared_ptr<ObjectHold> held,
                                                    const Plan& plan);

    Status append(const Block& block, ByteSpan stored);
    Status zeros(std::uint64_t first, std::uint64_t count);
    // What was appended is durable, and known to a writer that resumes the run.
    Status flush();
    // What the run has brought and flushed, to be read again.
    Result<std::shared_ptr<VolumeReader>> written() const;
    // The atomic step. kBusy when another writer took the name meanwhile: then nothing counts.
    Result<Point> seal(const Sealing& sealing);

  private:
    static constexpr std::size_t kEntriesMax = std::size_t{1} << 19;

    struct Levels {  // what becomes of the indexes below the run's own
        std::vector<PointIndex> merged;
        std::vector<PointIndex> kept;
        std::uint8_t level = 0;
    };

    RunWriter(std::shared_ptr<Vault> vault, const std::string& series,
              std::shared_ptr<ObjectHold> held, Plan plan)
        : vault_(std::move(vault)),
          log_(vault_, series),
          held_(std::move(held)),
          plan_(std::move(plan)) {}
    Status take_name();
    Status join_earlier();
    Status load_writer(const Uuid& writer);
    Result<SegmentWriter*> segment();
    std::uint32_t place_of(const SegmentRef& ref);
    void count_changed(std::uint64_t first, std::uint64_t count);
    Status spill();
    Result<WrittenIndex> write_entries(std::uint64_t sequence, bool drop_zeros);
    Result<std::uint64_t> append_point(Point& point);
    Levels plan_levels(std::uint64_t own_entries) const;
    Result<std::vector<PointIndex>> write_indexes(std::uint64_t sequence);
    Result<WrittenIndex> merge(const Levels& levels, std::uint64_t sequence);
    Status drop_pieces();
    void drop_outdated();
    Result<std::vector<Index>> open_pieces() const;
    ObjectId next_index();
    IndexGeometry geometry(std::uint64_t sequence) const;

    std::shared_ptr<Vault> vault_;
    SeriesLog log_;
    std::shared_ptr<ObjectHold> held_;
    Plan plan_;
    SeriesState before_;  // as it was when the run began
    Begin begin_;
    std::uint64_t last_number_ = 0;
    std::uint64_t seed_ = 0;

    std::optional<SegmentWriter> segment_;
    std::uint64_t segment_serial_ = 0;
    std::uint64_t index_serial_ = 0;
    std::vector<SegmentRef> segments_;  // that entries_ speaks of
    std::vector<IndexEntry> entries_;
    std::vector<ObjectId> pieces_;  // entries that were written away, the oldest first
    std::uint64_t changed_bytes_ = 0;
    std::uint64_t stored_bytes_ = 0;
};

// What an unfinished run has durably brought, to be read: a layer a session, the newest first.
Result<std::vector<IndexLayer>> layers_of(const Vault& vault, const std::string& series,
                                          const Begin& unfinished);
// The same as ranges.
Result<std::vector<Extent>> acknowledged_extents(const Vault& vault, const std::string& series,
                                                 const Begin& unfinished);

}  // namespace towline
