// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "cbt/extent.hpp"
#include "userspace/vault/parts_reader.hpp"
#include "userspace/vault/run_volume.hpp"
#include "userspace/vault/series_log.hpp"

namespace towline {

// One run into a vault, from begin to seal. One thread at a time; every call may block on the
// store. Whatever fails or dies before seal() has returned leaves the points as they were.
class RunWriter {
  public:
    // What a run is planned upon. Where a lock can be lost, another writer or a pruning may change
    // it before the run begins.
    struct Footing {
        std::uint64_t begin = 0;  // the last one, by its number; 0: there is none
        std::uint64_t point = 0;  // the newest one, likewise
        static Footing of(const SeriesState& state);
        bool operator==(const Footing&) const = default;
    };
    struct Plan {
        TargetRecord state;  // as it is while the run goes on
        std::uint32_t block_bytes = 0;
        std::string volume_name;  // of one that comes without a name
        VolumeLayout layout{};    // empty: the state's owner, alone
        bool resume = false;      // go on with the unfinished run of this name
        // What it was planned upon: what comes is what differs from that. Nothing: upon whatever
        // there is.
        std::optional<Footing> footing{};
    };
    // A block as it came over the wire, checked; its number is of the whole layout.
    struct Block {
        std::uint64_t block = 0;
        std::uint8_t kind = 0;
        std::uint32_t check = 0;
        // The same, decompressed: where the volume ends within the block it is stored anew.
        ByteSpan plain{};
    };
    struct Sealing {
        TargetRecord state;  // sealed
        RunMode mode{};
        bool reread = false;
        std::string digest;
        std::optional<MomentMessage> moment{};  // as the source told it
    };

    // Why what a run reads is not there, where it is not damaged: another run has taken the name,
    // or the point that it stands on was deleted, either while it had lost its hold of the name.
    // Nothing: the run stands.
    static std::optional<Error> fallen(const SeriesLog& log, const Footing& footing,
                                       const Uuid& run);

    // Takes the name: `held` is the right to. kBusy when another writer came between, or the point
    // that the plan stands on went.
    static Result<std::unique_ptr<RunWriter>> begin(std::shared_ptr<Vault> vault,
                                                    const std::string& series,
                                                    std::shared_ptr<ObjectHold> held,
                                                    const Plan& plan);

    Status append(const Block& block, ByteSpan stored);
    Status zeros(std::uint64_t first, std::uint64_t count);
    // What was appended to all volumes is durable, and known to a writer that resumes the run.
    Status flush();
    // What the run has brought and flushed, to be read again.
    Result<std::shared_ptr<PartsReader>> written() const;
    // Whether what it has found in the vault is there still; from any thread, while none of them
    // writes. kBusy where it was given back.
    Status found_stands() const { return shared_.twins ? shared_.twins->stands() : Status{}; }
    // The atomic step. kBusy when another writer took the name meanwhile: then nothing counts.
    Result<Point> seal(const Sealing& sealing);

  private:
    struct Place {
        RunVolume* volume = nullptr;
        std::uint64_t block = 0;  // of the volume
    };

    RunWriter(std::shared_ptr<Vault> vault, const std::string& series,
              std::shared_ptr<ObjectHold> held, Plan plan);
    Status make_volumes();
    Status join_earlier();
    Status take_name();
    Status load_writer(const Uuid& writer);
    Result<Place> place_of(std::uint64_t block) const;
    Result<Point> make_point(const Sealing& sealing);
    Status append_cut(const Place& place, const Block& block);
    Result<std::uint64_t> append_point(Point& point);
    void drop_pieces();
    void drop_outdated();

    std::shared_ptr<Vault> vault_;
    SeriesLog log_;
    std::shared_ptr<ObjectHold> held_;
    Plan plan_;
    SeriesState before_;  // as it was when the run began
    Begin begin_;
    std::uint64_t last_number_ = 0;
    RunShared shared_;
    std::vector<std::unique_ptr<RunVolume>> volumes_;  // as the layout has them
};

// What an unfinished run has durably brought of a volume, to be read: a layer a session, the newest
// first.
Result<std::vector<IndexLayer>> layers_of(const Vault& vault, const std::string& series,
                                          const Begin& unfinished, const VolumePart& volume);
// Of all volumes of the layout, as its ranges.
Result<std::vector<Extent>> acknowledged_extents(const Vault& vault, const std::string& series,
                                                 const Begin& unfinished,
                                                 const VolumeLayout& layout);

// The volume of the point that a run of `layout` goes on with at this place; null: it is new.
const PointVolume* base_of(const Point& point, const VolumeLayout& layout, std::size_t place);

}  // namespace towline
