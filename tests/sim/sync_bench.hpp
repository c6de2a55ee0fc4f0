// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/simulated_world.hpp"
#include "tests/sim/simulated_stores.hpp"
#include "userspace/engine/source_pipeline.hpp"
#include "userspace/engine/target_pipeline.hpp"

namespace towline {

constexpr Duration kSilenceMax = std::chrono::seconds(4);

enum class Side { kSource, kTarget };

// The process of one side dies when this many events of the run have passed.
struct Kill {
    Side side = Side::kTarget;
    std::uint64_t event = 0;
    KillStyle style = KillStyle::kClose;
};

// One run of `towline sync`, and all that is to go wrong with it. Disk faults are put on the disks.
struct RunPlan {
    RunRequest::Kind kind = RunRequest::Kind::kAuto;
    bool resume = false;
    bool overwrite = false;
    bool verify = false;
    bool direct = false;
    std::vector<Extent> extents;
    std::uint32_t block_bytes = 64 << 10;
    CodecChoice codec = CodecChoice::kAuto;
    std::optional<int> level = 0;  // nothing: auto
    std::size_t buffer_count = 8;
    std::size_t buffer_bytes = 128 << 10;
    std::uint64_t checkpoint_bytes = 256 << 10;
    std::uint64_t rate_bytes_per_second = 0;
    std::function<std::optional<int>()> level_now;  // asked while the run goes on
    std::vector<ConnectionPlan> links{1};           // one a connection; the source is first
    std::optional<Kill> kill;
    StoreFault source_fault;
    StoreFault target_fault;
    StoreHook source_hook;
    StoreHook target_hook;
    std::function<void()> after_event;  // looks, and may kill
    std::uint32_t audit_blocks = 0;
    std::int64_t modified_ns = 0;
    MomentTaker* moment = nullptr;  // nullptr: the source as it is, and nothing tracks it
};

struct RunResult {
    RunEnd end = RunEnd::kDone;
    bool source_killed = false;
    bool target_killed = false;
    std::optional<Error> source_error;  // nothing when it succeeded or was killed
    std::optional<Error> target_error;
    bool sealed = false;  // by the target, as its process saw it
    bool noted = false;   // the list of changes is durably pending
    std::uint64_t stored_bytes = 0;
    std::uint64_t events = 0;
    Duration elapsed{};
    RunReport report;
    bool succeeded() const { return !source_killed && !source_error && end == RunEnd::kDone; }
};

struct BenchShape {
    std::uint64_t source_bytes = 256 << 10;
    std::uint64_t target_bytes = 0;  // of an image file: as it is before the first run
    bool target_is_image = true;
    bool target_exists = true;
    std::uint32_t source_alignment = 512;
    std::uint32_t target_alignment = 512;
};

// A source, a target and what both remember; processes and connections come and go with each run.
class SyncBench {
  public:
    SyncBench(std::uint64_t seed, BenchShape with);
    ~SyncBench();

    RunResult run(const RunPlan& plan);
    // From hooks, while a run goes on.
    void kill(Side side, KillStyle style = KillStyle::kClose);

    // What the first `source_bytes` of the two hold; with `durable` what a power cut would leave.
    bool equal(bool durable) const;
    std::string difference(bool durable) const;
    // Behind the source's end on a device: as it was, always.
    bool rest_untouched() const;
    // Takes the target away as it durably is, and puts one in its place: a second target, or an
    // older self.
    struct TargetCopy {
        TargetShelf shelf;
        std::vector<std::byte> contents;
        std::vector<std::byte> staged;
    };
    TargetCopy copy_target() const {
        return {target_shelf, target.durable_contents(), staged.durable_contents()};
    }
    void put_target(const TargetCopy& copy);

    // At the target's host: of the volume and of what is staged. Its process was killed, or is
    // over.
    void cut_power(CrashStyle style = CrashStyle::kAny);
    // The target's volume as a takeover without its source finds it: durable, and what is staged
    // whole applied. By the format alone: none of the code that applies has a part in it.
    std::vector<std::byte> taken_over();
    // Whether what the index has is on stable storage, each block as it left its source.
    bool staged_is_durable();

    // What a target's process keeps, in place of the disks and shelf of this bench.
    std::function<std::unique_ptr<TargetStore>()> make_target_store;
    std::string target_name = "replica";
    VolumeLayout layout;  // of a source of several volumes, side by side on its disk

    // Entries of the journal from `entries_before` on.
    bool acknowledged_is_durable(std::size_t entries_before) const;

    const BenchShape shape;
    SimulatedWorld world;
    SimulatedRandom random;  // the harness's own, so that it does not shift the world's
    SimulatedDisk source;
    SimulatedDisk target;
    SimulatedDisk staged;  // the blocks of a run that is staged
    SourceShelf source_shelf;
    TargetShelf target_shelf;
    Uuid source_name;
    const std::vector<std::byte> rest;  // of the target, behind the source's end

  private:
    struct SourceProcess;
    struct TargetProcess;
    std::unique_ptr<TargetProcess> start_target(const RunPlan& plan);
    std::unique_ptr<SourceProcess> start_source(const RunPlan& plan);
    SourcePipeline::Config source_config(const RunPlan& plan, Handle volume);
    Result<Handle> connect(const ConnectionPlan& plan);
    bool over(const RunPlan& plan);

    SourceProcess* source_process_ = nullptr;
    TargetProcess* target_process_ = nullptr;
    std::size_t links_made_ = 0;
    std::uint64_t events_ = 0;
    std::int64_t codec_time_ = 0;
};

// A target that was there before us: data of other origin all over.
void fill_random_data(SimulatedDisk& disk, SimulatedRandom& random, std::uint64_t begin,
                      std::uint64_t end);

}  // namespace towline
