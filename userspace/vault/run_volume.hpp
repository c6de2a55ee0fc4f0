// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "userspace/engine/volume_layout.hpp"
#include "userspace/vault/segment_writer.hpp"
#include "userspace/vault/twin_finder.hpp"
#include "userspace/vault/volume_reader.hpp"

namespace towline {

// What the volumes of a run share. Serials are the writer's, whichever volume uses them.
struct RunShared {
    std::shared_ptr<Vault> vault;
    std::string series;
    Uuid run;
    bool whole = false;  // a full copy: nothing below it counts
    std::uint32_t block_bytes = 0;
    Uuid writer;
    std::uint64_t epoch = 0;
    std::uint64_t next_segment = 0;
    std::uint64_t next_index = 0;
    std::unique_ptr<TwinFinder> twins{};  // null: equal blocks are kept as often as they come
};

// One volume of a run: its blocks into segments of its own, and what becomes of its indexes.
// RunWriter owns it, and numbers blocks by the volume's own begin here.
class RunVolume {
  public:
    // A block as it came over the wire, checked.
    struct Block {
        std::uint64_t block = 0;
        std::uint8_t kind = 0;
        std::uint32_t check = 0;
        ByteSpan plain{};  // the same, decompressed
    };

    // `base`: the volume in the point before; null: it is not there.
    RunVolume(RunShared& shared, VolumePart part, const PointVolume* base);

    const VolumePart& part() const { return part_; }
    Status append(const Block& block, ByteSpan stored);
    Status zeros(std::uint64_t first, std::uint64_t count);
    Status flush();
    // A segment that an earlier session of this run has put, older than all that comes from now on.
    Status load(const OpenSegment& segment);
    Status spill();
    // What was flushed, to be read again.
    Result<std::shared_ptr<VolumeReader>> written() const;
    // Behind the last flush: puts what is missing of its indexes.
    Result<PointVolume> finish(std::uint64_t sequence);
    // Of no use once the point is sealed.
    void list_pieces(std::vector<std::string>& names) const;

  private:
    static constexpr std::size_t kEntriesMax = std::size_t{1} << 19;

    struct Levels {  // what becomes of the indexes below the run's own
        std::vector<PointIndex> merged;
        std::vector<PointIndex> kept;
        std::uint8_t level = 0;
    };

    Result<SegmentWriter*> segment();
    Status add_twin(const Block& block, const TwinFinder::Twin& twin);
    std::uint32_t place_of(const SegmentRef& ref);
    void count_changed(std::uint64_t first, std::uint64_t count);
    Result<WrittenIndex> write_entries(std::uint64_t sequence, bool drop_zeros);
    Levels plan_levels(std::uint64_t own_entries) const;
    Result<std::vector<PointIndex>> write_indexes(std::uint64_t sequence);
    Result<WrittenIndex> merge(const Levels& levels, std::uint64_t sequence);
    Result<std::vector<Index>> open_pieces() const;
    ObjectId next_index();
    IndexGeometry geometry(std::uint64_t sequence) const;

    RunShared& shared_;
    VolumePart part_;
    std::optional<PointVolume> base_;
    std::uint64_t seed_ = 0;
    std::optional<SegmentWriter> segment_;
    std::uint64_t segment_serial_ = 0;  // of the open one
    std::vector<SegmentRef> segments_;  // that entries_ speaks of
    std::vector<IndexEntry> entries_;
    std::vector<ObjectId> pieces_;  // entries that were written away, the oldest first
    std::uint64_t changed_bytes_ = 0;
    std::uint64_t stored_bytes_ = 0;
    std::uint64_t shared_bytes_ = 0;
};

IndexEntry index_entry(const SegmentEntry& entry, std::uint32_t place);

}  // namespace towline
