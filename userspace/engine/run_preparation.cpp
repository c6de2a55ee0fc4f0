// SPDX-License-Identifier: Apache-2.0
// Rules 1 to 3 in order of time: catch up with what the target sealed behind our back, decide,
// build the plan out of the new changes and the pending ones, and make the union durable before the
// target hears of the run.

#include "userspace/engine/run_preparation.hpp"

#include <algorithm>

#include "cbt/change_map_format.hpp"
#include "userspace/engine/audit_sample.hpp"

namespace towline {

namespace {

// What cannot be read vouches for nothing: the target counts as unknown.
Result<std::optional<TargetMemory>> remembered(SourceStore& store, const Uuid& target) {
    auto memory = store.load(target);
    if (!memory && memory.error().code == Code::kCorrupt) return std::nullopt;
    return memory;
}

// Another process may have begun a run meanwhile, and come to know what this one's memory does not
// say: writing that over it would take it back.
Result<MemoryHold> hold_as_it_was(const PreparedRun& run, SourceStore& store) {
    MemoryHold held = TRY(store.hold(run.memory.target));
    if (TRY(remembered(store, run.memory.target)) != run.kept) {
        return fail(Code::kBusy,
                    "another process began a run from this source to the same target meanwhile");
    }
    return held;
}

// The pending changes in the run's geometry. Damaged ones: everything may have changed.
Result<ChangeMap> pending_changes(SourceStore& store, const TargetMemory& memory,
                                  const SourceRequest& request) {
    ChangeMap changes(request.run.volume_bytes, request.block_bytes);
    auto pending = store.pending(memory.target);
    if (!pending && pending.error().code == Code::kCorrupt) {
        changes.mark_all();
        return changes;
    }
    if (!pending) return std::unexpected(pending.error());
    if (*pending)
        changes.merge((*pending)->resampled(request.run.volume_bytes, request.block_bytes));
    return changes;
}

// What a tracker saw for this target, with the epoch that a dry run has noted nowhere. Nothing: the
// target got none of this tracking's epochs before, so that there may be some that it never got.
Result<std::optional<Harvest>> harvest_of(SourceStore& store, const Uuid& target,
                                          const ChangeSet& set, bool dry_run) {
    for (Harvest& harvest : TRY(store.harvests())) {
        if (harvest.target != target || harvest.tracker != set.tracker) continue;
        if (dry_run) absorb(harvest, set);
        return std::optional(std::move(harvest));
    }
    return std::nullopt;
}

Cause doubt_of(const Harvest& harvest) {
    if (harvest.doubt == Harvest::Doubt::kFresh) return Cause::kTrackerNew;
    if (harvest.doubt == Harvest::Doubt::kHole) return Cause::kChangesTaken;
    if (harvest.doubt == Harvest::Doubt::kAudit) return Cause::kAuditFailed;
    if (harvest.reasons.has(ChangeReason::kForeign)) return Cause::kSourceForeign;
    return Cause::kTrackerGap;
}

// Several volumes' trackings as one: another one as soon as any of them is.
Uuid tracker_of(const std::vector<ChangeSet>& changes) {
    if (changes.size() == 1) return changes.front().tracker;
    std::vector<std::byte> names;
    for (const ChangeSet& each : changes)
        names.insert(names.end(), each.tracker.bytes.begin(), each.tracker.bytes.end());
    const Hash128 hash = BlockHasher(BlockHasher::Seed{}).of(names);
    Uuid tracker;
    store_le(tracker.bytes.data(), hash.low);
    store_le(tracker.bytes.data() + 8, hash.high);
    return tracker;
}

// The pending map and the harvests together are what the target lacks, and the worst word counts.
Tracked tracked_of(const std::vector<ChangeSet>& changes,
                   const std::vector<std::optional<Harvest>>& harvests,
                   const std::optional<TargetMemory>& memory) {
    Tracked tracked{.tracker = tracker_of(changes), .trust = Trust::kExact};
    for (const auto& harvest : harvests) {
        const Trust trust = harvest ? harvest->trust : Trust::kUnknown;
        if (trust == Trust::kUnknown && tracked.trust != Trust::kUnknown)
            tracked.doubt = harvest ? doubt_of(*harvest) : Cause::kTrackerNew;
        tracked.trust = worse(tracked.trust, trust);
    }
    // Of several volumes' trackings none counts for all.
    if (changes.size() == 1) tracked.sequence = changes.front().sequence;
    if (!memory || !harvests.front()) return tracked;
    if (memory->pending_trust == Trust::kUnknown) tracked.doubt = memory->pending_doubt;
    tracked.trust = worse(tracked.trust, memory->pending_trust);
    return tracked;
}

// The marks of one volume among those of all.
void merge_part(ChangeMap& all, const VolumePart& part, const ChangeMap& its) {
    const ChangeMap marks = its.resampled(part.bytes, all.block_bytes());
    const std::uint64_t start = part.start_bytes / all.block_bytes();
    for (auto run = marks.next_run(0); run; run = marks.next_run(run->end()))
        all.mark_blocks({.first = start + run->first, .count = run->count});
}

// All blocks of all volumes.
void mark_volumes(ChangeMap& plan, const VolumeLayout& layout) {
    for (const VolumePart& each : layout.parts())
        plan.mark(each.extent());
}

std::uint64_t next_sequence(const TargetMemory& memory, const OpenedMessage& opened) {
    return std::max({memory.base.sequence, memory.open_base.sequence, opened.base.sequence,
                     opened.run_base.sequence}) +
           1;
}

BeginMessage make_begin(const SourceRequest& request, const RunDecision& decision,
                        const TargetMemory& memory, const OpenedMessage& opened,
                        std::uint64_t plan_digest) {
    BeginMessage begin;
    begin.run = decision.resume ? opened.run : request.draw();
    begin.mode = decision.mode;
    begin.resume = decision.resume;
    begin.overwrite = request.run.overwrite;
    begin.verify = request.verify;
    begin.dry_run = request.dry_run;
    begin.compare_listed = decision.compare_listed;
    begin.direct = request.run.direct;
    begin.block_bytes = request.block_bytes;
    begin.plan_digest = decision.resume ? opened.plan_digest : plan_digest;
    begin.expected_state = opened.state;
    begin.expected_base = opened.base;
    begin.next_base = {.source = request.run.source,
                       .sequence = next_sequence(memory, opened),
                       .point = request.draw()};
    if (const auto& tracked = request.run.tracked) {
        begin.next_base.tracker = tracked->tracker;
        if (tracked->sequence > 0) begin.next_base.sequence = tracked->sequence;
    }
    for (std::size_t at = 0; at < begin.hash_seed.size(); at += 16) {
        std::ranges::copy(request.draw().bytes,
                          begin.hash_seed.begin() + static_cast<std::ptrdiff_t>(at));
    }
    return begin;
}

void remember_begun(TargetMemory& memory, const SourceRequest& request, const BeginMessage& begin) {
    std::erase(memory.open_runs, begin.run);
    memory.open_runs.push_back(begin.run);
    memory.open_mode = begin.mode;
    memory.open_plan_digest = begin.plan_digest;
    memory.open_base = begin.next_base;
    memory.open_modified_ns = request.run.modified_ns;
    memory.open_filesystem = request.run.filesystem;
    memory.open_volumes = request.run.volumes;
    memory.open_volume_bytes = request.run.volume_bytes;
    memory.open_free_left_out =
        request.free_left_out || (begin.resume && memory.open_free_left_out);
}

// The pending map holds the harvest now, and must not be believed further than that was.
void take_over_doubts(PreparedRun& run) {
    TargetMemory& memory = run.memory;
    for (const auto& harvest : run.harvests) {
        if (!harvest) continue;
        if (harvest->trust == Trust::kUnknown && memory.pending_trust != Trust::kUnknown)
            memory.pending_doubt = doubt_of(*harvest);
        memory.pending_trust = worse(memory.pending_trust, harvest->trust);
    }
}

// What the source doubts of itself sticks until the target has sealed. True when that is news.
bool take_source_doubt(TargetMemory& memory, const RunRequest& request) {
    const auto doubt = source_doubt(request, memory);
    if (!doubt) return false;
    const bool known = memory.pending_trust == Trust::kUnknown && memory.pending_doubt == *doubt;
    memory.pending_trust = Trust::kUnknown;
    memory.pending_doubt = *doubt;
    return !known;
}

// Where free blocks were left out, blocks differ that no tracker has to answer for.
void draw_audit(PreparedRun& run, const SourceRequest& request) {
    RollingAudit& after = run.memory.open_audit;
    if (run.decision.resume) return;
    after = run.memory.audit;
    if (run.decision.mode != RunMode::kExtents) {
        // All is compared or sent: what is due counts from here.
        after.covered_ms = request.now_ms;
        return;
    }
    if (request.changes.empty() || request.free_left_out || run.memory.free_left_out) return;
    const VolumeLayout layout = layout_of(request);
    std::vector<Extent> excluded;
    for (std::size_t place = 0; place < request.changes.size(); ++place) {
        for (const Extent& each : request.changes[place].excluded)
            excluded.push_back(
                {layout.parts()[place].start_bytes + each.offset_bytes, each.length_bytes});
    }
    if (request.audit_blocks > 0) {
        run.audit = audit_sample(run.plan, excluded, request.audit_blocks, [&] {
            return load_le<std::uint64_t>(request.draw().bytes.data());
        });
    }
    if (request.audit_period > Duration::zero()) {
        const RollingPart part =
            rolling_part(run.memory.audit, request.now_ms, request.audit_period, run.plan,
                         request.audit_part_max);
        after = part.after;
        ChangeMap blocks = rolling_blocks(part, run.plan, excluded);
        if (run.audit.block_count() > 0) blocks.merge(run.audit);
        run.audit = std::move(blocks);
    }
    run.begin.compare_listed |= !run.audit.empty();
}

// What is to be sent, or compared where that is the mode; merges what is still pending.
Status make_plan(PreparedRun& run, const SourceRequest& request, SourceStore& store) {
    // A map is 32 MiB for 16 TiB: none is made that is not needed.
    const bool harvested = std::ranges::any_of(
        run.harvests, [](const auto& each) { return each && each->changes.block_count() > 0; });
    if (run.decision.mode != RunMode::kScan || !request.extents.empty() || harvested) {
        run.plan = ChangeMap(request.run.volume_bytes, request.block_bytes);
    }
    // Noted whatever the mode: a list that comes with the resumption of a comparison is not given
    // again when that fails too.
    for (const Extent& extent : request.extents)
        run.plan.mark(extent);
    const VolumeLayout layout = layout_of(request);
    for (std::size_t place = 0; place < run.harvests.size(); ++place) {
        const auto& harvest = run.harvests[place];
        if (harvest && harvest->changes.block_count() > 0)
            merge_part(run.plan, layout.parts()[place], harvest->changes);
    }
    switch (run.decision.mode) {
        case RunMode::kFull:
            mark_volumes(run.plan, layout);
            break;
        case RunMode::kExtents:
            run.changed_bytes =
                request.changes.empty() ? total_bytes(request.extents) : run.plan.marked_bytes();
            break;
        case RunMode::kScan:
            break;
    }
    if (run.decision.include_pending && run.decision.mode == RunMode::kExtents) {
        ChangeMap pending = TRY(pending_changes(store, run.memory, request));
        pending.subtract(run.plan);
        run.changed_bytes += pending.marked_bytes();
        run.plan.merge(pending);
    }
    if (run.decision.mode == RunMode::kFull) run.changed_bytes = layout.data_bytes();
    return {};
}

// With what is pending already; where that cannot be read it is everything.
Status save_plan(const PreparedRun& run, SourceStore& store) {
    if (run.plan.block_count() == 0) return store.save(run.memory);
    auto pending = store.pending(run.memory.target);
    if (!pending && pending.error().code != Code::kCorrupt) return std::unexpected(pending.error());
    if (pending && !*pending) return store.save_begun(run.memory, run.plan);
    ChangeMap changes = run.plan;
    if (!pending) changes.mark_all();
    if (pending)
        changes.merge((*pending)->resampled(changes.volume_bytes(), changes.block_bytes()));
    return store.save_begun(run.memory, changes);
}

}  // namespace

VolumeLayout layout_of(const SourceRequest& request) {
    if (!request.layout.parts().empty()) return request.layout;
    return VolumeLayout::of_one(request.run.source, request.run.volume_bytes);
}

Status note_epoch(const ChangeSet& set, const Uuid& target, SourceStore& store) {
    bool known = false;
    for (Harvest& harvest : TRY(store.harvests())) {
        if (harvest.tracker != set.tracker) continue;
        known |= harvest.target == target;
        absorb(harvest, set);
        TRY_STATUS(store.save_harvest(harvest));
    }
    if (known) return {};
    // In place of another tracker's, or of none: what changed before this is nobody's.
    return store.save_harvest({.target = target,
                               .tracker = set.tracker,
                               .sequence = set.sequence,
                               .trust = Trust::kUnknown,
                               .doubt = Harvest::Doubt::kFresh});
}

Result<PreparedRun> plan_run(const SourceRequest& given, SourceStore& store,
                             const OpenedMessage& opened) {
    SourceRequest request = given;
    if (!change_map_format::geometry_allowed(request.run.volume_bytes, request.block_bytes)) {
        return fail(Code::kRefused,
                    "the source has more blocks than a run can have; take larger ones (--block)");
    }
    // Another process writes before what is read here, or behind what that settles.
    MemoryHold held;
    if (!request.dry_run) held = TRY(store.hold(opened.target));
    std::optional<TargetMemory> memory = TRY(remembered(store, opened.target));
    if (memory && commit_if_sealed(*memory, opened) && !request.dry_run) {
        TRY_STATUS(store.save_sealed(*memory));
    }
    PreparedRun run;
    run.kept = memory;
    for (std::size_t place = 0; place < request.changes.size(); ++place) {
        run.harvests.push_back(TRY(harvest_of(store.of_volume(place), opened.target,
                                              request.changes[place], request.dry_run)));
        run.trackers.push_back(request.changes[place].tracker);
    }
    if (!request.changes.empty())
        request.run.tracked = tracked_of(request.changes, run.harvests, memory);
    const bool doubted = memory && take_source_doubt(*memory, request.run);
    auto decision = decide_run(request.run, memory, opened);
    // Also of a run that is refused: the next one may find nothing to doubt any more.
    if (!decision && doubted && !request.dry_run) TRY_STATUS(store.save(*memory));
    run.decision = TRY(std::move(decision));
    run.memory = memory.value_or(TargetMemory{.target = opened.target});
    TRY_STATUS(make_plan(run, request, store));
    run.begin = make_begin(request, run.decision, run.memory, opened, run.plan.digest());
    draw_audit(run, request);
    if (request.dry_run) return run;
    remember_begun(run.memory, request, run.begin);
    take_over_doubts(run);
    return run;
}

Status note_run(PreparedRun& run, SourceStore& store) {
    TRY_STATUS(note_plan(run, store));
    for (std::size_t place = 0; place < run.harvests.size(); ++place) {
        auto& harvest = run.harvests[place];
        if (!harvest) continue;
        clear(*harvest);
        TRY_STATUS(store.of_volume(place).save_harvest(*harvest));
    }
    return {};
}

Status note_plan(PreparedRun& run, SourceStore& store) {
    const MemoryHold held = TRY(hold_as_it_was(run, store));
    TRY_STATUS(save_plan(run, store));
    run.kept = run.memory;
    return {};
}

Status note_known(PreparedRun& run, SourceStore& store,
                  const std::function<void(TargetMemory&)>& change) {
    const MemoryHold held = TRY(store.hold(run.memory.target));
    auto memory = TRY(remembered(store, run.memory.target));
    const bool as_it_was = memory == run.kept;
    change(run.memory);
    if (!memory) memory = run.memory;
    change(*memory);
    TRY_STATUS(store.save(*memory));
    if (as_it_was) run.kept = std::move(memory);
    return {};
}

Status distrust_plan(PreparedRun& run, SourceStore& store) {
    return note_known(run, store, [](TargetMemory& memory) {
        memory.pending_trust = Trust::kUnknown;
        memory.pending_doubt = Cause::kAuditFailed;
    });
}

Status distrust_harvests(const PreparedRun& run, SourceStore& store) {
    for (std::size_t place = 0; place < run.trackers.size(); ++place) {
        SourceStore& its = store.of_volume(place);
        for (Harvest& harvest : TRY(its.harvests())) {
            if (harvest.tracker != run.trackers[place]) continue;
            harvest.trust = Trust::kUnknown;
            harvest.doubt = Harvest::Doubt::kAudit;
            TRY_STATUS(its.save_harvest(harvest));
        }
    }
    return {};
}

// A process that was stopped behind its End may wake up when another one has begun a run to the
// same target meanwhile. What that one is to bring is pending, and its memory is the newer one: the
// target tells it what was sealed.
Status commit_run(PreparedRun& run, SourceStore& store) {
    const MemoryHold held = TRY(store.hold(run.memory.target));
    const auto kept = store.load(run.memory.target);
    if (!kept && kept.error().code != Code::kCorrupt) return std::unexpected(kept.error());
    const bool ours =
        kept && *kept && !(*kept)->open_runs.empty() && (*kept)->open_runs.back() == run.begin.run;
    if (!ours) return {};
    commit_open_run(run.memory);
    return store.save_sealed(run.memory);
}

}  // namespace towline
