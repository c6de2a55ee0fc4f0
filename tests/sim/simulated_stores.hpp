// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "io/engine_simulated.hpp"
#include "io/simulated_random.hpp"
#include "userspace/engine/source_store.hpp"
#include "userspace/engine/staged_sink.hpp"
#include "userspace/engine/target_store.hpp"

namespace towline {

// Where a side can be killed, or its state folder can fail: before the call changes anything, in
// the middle of it, and after it is durable.
enum class StoreCall {
    kLook,
    kStage,  // the index of a staged run is emptied
    kMark,
    kJournal,
    kNote,
    kFit,
    kSeal,
    kSave,
    kSaveBegun,
    kSaveSealed,
    kSaveHarvest
};
enum class StoreMoment { kBefore, kWithin, kAfter };

// Told at every such moment; may kill the engine of the side.
using StoreHook = std::function<void(StoreCall, StoreMoment)>;

// The nth call that changes something fails, and when `sticky` each one behind it (a folder that is
// read-only from then on); `late`: it had its effect all the same, which with `unsynced` a power
// cut takes back.
struct StoreFault {
    std::uint64_t nth = 0;  // 0: never
    int system_errno = EIO;
    bool late = false;
    bool sticky = false;
    bool unsynced = false;
};

// What is durable at a target beside the volume. Outlives its processes.
struct TargetShelf {
    struct Entry {
        std::vector<Extent> extents;
        bool whole = true;  // else torn: the end of what can be read
    };
    bool exact_size = true;  // an image file; else a device
    bool exists = true;
    bool stages = true;
    bool replaced = false;  // the volume is not the record's any more, which is void with that
    TargetRecord record;
    std::optional<TargetRecord> on_disk;  // where that is an older one
    std::vector<std::byte> staged_index;  // the file of a run that is staged

    std::vector<Entry> journal;
    std::uint64_t calls = 0;

    std::vector<Extent> acknowledged() const;
};

// What a source keeps. Outlives its processes; all of it is durable but that a run was sealed,
// which is not waited for.
struct SourceShelf {
    struct Begun {
        std::optional<TargetMemory> memory;
        std::optional<ChangeMap> pending;
    };
    std::map<Uuid, TargetMemory> memories;
    std::map<Uuid, ChangeMap> pending;
    std::map<Uuid, Begun> undoable;
    std::map<Uuid, Harvest> harvests;
    std::set<Uuid> damaged;       // files of memories: nothing of them can be read
    std::set<Uuid> damaged_maps;  // what was pending is not known, and counts as everything

    // Any that is noted as sealed, and was not saved since, may be open again.
    bool lose_power(SimulatedRandom& random);
};

// Counts the calls of one process on its shelf, and is what can go wrong with them.
class ShelfAccess {
  public:
    ShelfAccess(SimulatedEngine& engine, StoreFault fault, StoreHook hook)
        : engine_(engine), fault_(fault), hook_(std::move(hook)) {}

    // Runs `effect` between the moments, `torn` in its place when the side dies within it. A dead
    // side changes nothing: what is left of it may still call.
    Status change(
        StoreCall call, const std::function<void()>& effect,
        const std::function<void()>& torn = [] {});
    bool dead() const { return engine_.killed(); }
    // The call at hand has its effect, and not on the disk.
    bool unsynced() const { return unsynced_; }

  private:
    void tell(StoreCall call, StoreMoment moment);

    SimulatedEngine& engine_;
    StoreFault fault_;
    StoreHook hook_;
    std::uint64_t calls_ = 0;
    bool unsynced_ = false;
};

// A target's process at its shelf and disk; one session.
class SimulatedTargetStore : public TargetStore {
  public:
    SimulatedTargetStore(TargetShelf& shelf, SimulatedDisk& disk, SimulatedDisk& staged_blocks,
                         SimulatedEngine& engine, SimulatedRandom& random, StoreFault fault = {},
                         StoreHook hook = {});

    Result<TargetFacts> look(const std::string& name, const Uuid& source, bool dry_run) override;
    Result<TargetVolume> prepare(IoEngine& engine, std::uint64_t volume_bytes,
                                 bool dry_run) override;
    Result<StagedRun> open_stage(IoEngine& engine, const StageWish& wish) override;
    Result<std::vector<Extent>> data_ranges() override;
    Status mark(const TargetRecord& record, bool keep_journal) override;
    Status confirm(const TargetRecord& found) override;
    Status journal(std::span<const Extent> acknowledged) override;
    Result<std::vector<Extent>> acknowledged() override;
    Status note_flush_failed(const TargetRecord& record) override;
    Status fit_size() override;
    Status seal(const TargetRecord& record, const Attestation&) override;

  private:
    bool reads_as_zeros() const;
    void put(const TargetRecord& record);
    void fit();

    TargetShelf& shelf_;
    SimulatedDisk& disk_;
    SimulatedDisk& staged_blocks_;
    SimulatedEngine& engine_;
    SimulatedRandom& random_;
    ShelfAccess access_;
    std::uint64_t volume_bytes_ = 0;
};

// A source's process at its shelf.
class SimulatedSourceStore final : public SourceStore {
  public:
    SimulatedSourceStore(SourceShelf& shelf, SimulatedEngine& engine, StoreFault fault = {},
                         StoreHook hook = {});

    Result<std::optional<TargetMemory>> load(const Uuid& target) override;
    Result<std::optional<ChangeMap>> pending(const Uuid& target) override;
    Status save(const TargetMemory& memory) override;
    Status save_begun(const TargetMemory& memory, const ChangeMap& pending) override;
    Status save_sealed(const TargetMemory& memory) override;
    Result<std::vector<Harvest>> harvests() override;
    Status save_harvest(const Harvest& harvest) override;

    // The changes of the run are durably pending: its list need not be given again.
    bool noted() const { return noted_; }

  private:
    SourceShelf& shelf_;
    ShelfAccess access_;
    bool noted_ = false;
};

// The index of the run that a target has staged; nothing: none that can be read.
std::optional<StagedIndex> staged_index_of(TargetShelf& shelf);

// As a file shows them: ranges outside of which the contents are zeros.
std::vector<Extent> data_ranges_of(const std::vector<std::byte>& contents);

Uuid draw_uuid(SimulatedRandom& random);

}  // namespace towline
