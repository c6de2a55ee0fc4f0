// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "io/work_queue.hpp"
#include "userspace/engine/block_sink.hpp"
#include "userspace/engine/disk_sample.hpp"
#include "userspace/engine/target_record.hpp"
#include "userspace/engine/volume_layout.hpp"

namespace towline {

// What a target finds under a name before anything is changed.
struct TargetFacts {
    bool exists = false;
    bool is_device = false;
    bool empty = false;
    bool has_data = false;
    bool can_stage = false;    // runs can be kept beside the volume until they are attested
    bool changed = false;      // the record was void: the volume was replaced or written to since
    bool staged_left = false;  // files of a staged run are there, whatever the record says
    std::uint64_t size_bytes = 0;
    TargetRecord record;
};

// The volume, open for writing and of the right size.
struct TargetVolume {
    VolumeView view;
    ZeroMode zero_mode = ZeroMode::kKeep;
    bool zeroed = false;  // reads as zeros all over, for certain
    // The volume's end is the source's end (an image file), so a padded tail is cut off when the
    // run is sealed.
    bool exact_size = false;
    // What keeps other sessions off the volume. Attached like the volume itself: what a killed
    // process had in flight still lands after it is gone, and until then its ring keeps this.
    Handle lock{};
};

// What a sealed record rests on.
struct Attestation {
    RunDigest digest;
    bool reread = false;                    // read back, not only checked when it came
    std::optional<MomentMessage> moment{};  // what the source says of what it read
};

// What is durable at the target besides the blocks: records, the journal of acknowledged ranges.
// Every call blocks until what it promises is on stable storage; look(), journal(), fit_size() and
// seal() may take long, and are called off the loop's thread. Real: files beside the images. In
// the simulator: memory that loses what was not synced.
struct StagedRun;

class TargetStore {
  public:
    virtual ~TargetStore() = default;

    // How fast is the disk that the target of this name is on, or would be? Nothing of anybody's is
    // changed, and the name is taken from nobody. May take a second.
    virtual Result<DiskSample> sample_disk(const std::string& /*name*/) {
        return fail(Code::kUnsupported, "what holds this target has no disk of its own to measure");
    }
    // Before look(): what the source stands on. Whoever writes onto volumes of this host looks
    // whether it is the same.
    virtual void hear_standing(const Uuid& /*source*/, const Standing& /*standing*/) {}
    // Before look() too: which volumes the run has. By default one, and no more.
    virtual Status hear_volumes(const VolumeLayout& layout);
    // Takes the name for this session of the source. An earlier session of the same source is ended
    // first (its host or link died, else it would still hold its own lock); another source's is
    // kBusy.
    // A dry run takes the name from nobody: kBusy whoever has it.
    virtual Result<TargetFacts> look(const std::string& name, const Uuid& source, bool dry_run) = 0;
    // Creates what is missing, opens for writing, refuses what must not be written to.
    // A dry run opens what is there for reading and changes nothing.
    virtual Result<TargetVolume> prepare(IoEngine& engine, std::uint64_t volume_bytes,
                                         bool dry_run) = 0;
    // Where the run's blocks go. By default: onto the volume.
    virtual Result<std::unique_ptr<BlockSink>> open_sink(IoEngine& engine, WorkQueue& workers,
                                                         const TargetVolume& volume,
                                                         const BeginMessage& begin);
    // The files of a run that is staged, from prepare() on. `anew`: emptied, and refused when
    // there is no room for `plan_bytes`; else what is there of this very run, kCorrupt when that is
    // not to be had. Behind it the blocks of the run go there, and seal() does away with them.
    struct StageWish {
        Uuid run;
        bool anew = false;
        std::uint64_t plan_bytes = 0;
    };
    virtual Result<StagedRun> open_stage(IoEngine& engine, const StageWish& wish);
    virtual Result<std::vector<Extent>> data_ranges() = 0;

    // Before the first write of a run: from here on an image has the source's size, but for one
    // that is being staged. A run that does not go on with the recorded one empties the journal.
    virtual Status mark(const TargetRecord& record, bool keep_journal) = 0;
    // The record that was found, once more: one whose sync failed may be read, and be on no disk.
    virtual Status confirm(const TargetRecord& /*found*/) { return {}; }
    virtual Status journal(std::span<const Extent> acknowledged) = 0;
    virtual Result<std::vector<Extent>> acknowledged() = 0;
    // A flush failed: what it was for may be lost although reads still show it. At any moment from
    // prepare() on, also when the session is over already.
    virtual Status note_flush_failed(const TargetRecord& record) = 0;
    // Before the seal: an image has the source's size, durably. A failure counts as a failed flush.
    virtual Status fit_size() = 0;
    // After the last flush: one atomic step to the new moment.
    virtual Status seal(const TargetRecord& record, const Attestation& attestation) = 0;
};

}  // namespace towline
