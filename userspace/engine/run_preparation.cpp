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

// The pending map and the harvest together are what the target lacks, and the worse word counts.
Tracked tracked_of(const ChangeSet& set, const std::optional<Harvest>& harvest,
                   const std::optional<TargetMemory>& memory) {
    Tracked tracked{.tracker = set.tracker, .sequence = set.sequence};
    if (!harvest) {
        tracked.doubt = Cause::kTrackerNew;
        return tracked;
    }
    tracked.trust = harvest->trust;
    if (harvest->trust == Trust::kUnknown) tracked.doubt = doubt_of(*harvest);
    if (!memory) return tracked;
    if (memory->pending_trust == Trust::kUnknown) tracked.doubt = memory->pending_doubt;
    tracked.trust = worse(tracked.trust, memory->pending_trust);
    return tracked;
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
    begin.block_bytes = request.block_bytes;
    begin.plan_digest = decision.resume ? opened.plan_digest : plan_digest;
    begin.expected_state = opened.state;
    begin.expected_base = opened.base;
    begin.next_base = {.source = request.run.source,
                       .sequence = next_sequence(memory, opened),
                       .point = request.draw()};
    if (const auto& tracked = request.run.tracked) {
        begin.next_base.tracker = tracked->tracker;
        begin.next_base.sequence = tracked->sequence;
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
    memory.open_volume_bytes = request.run.volume_bytes;
    memory.open_free_left_out =
        request.free_left_out || (begin.resume && memory.open_free_left_out);
}

// The pending map holds the harvest now, and must not be believed further than that was.
void take_over_doubts(PreparedRun& run) {
    if (!run.harvest) return;
    TargetMemory& memory = run.memory;
    if (run.harvest->trust == Trust::kUnknown && memory.pending_trust != Trust::kUnknown)
        memory.pending_doubt = doubt_of(*run.harvest);
    memory.pending_trust = worse(memory.pending_trust, run.harvest->trust);
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
    if (!request.changes || request.free_left_out || run.memory.free_left_out) return;
    const auto& excluded = request.changes->excluded;
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

}  // namespace

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

Result<PreparedRun> prepare_run(const SourceRequest& given, SourceStore& store,
                                const OpenedMessage& opened) {
    SourceRequest request = given;
    if (!change_map_format::geometry_allowed(request.run.volume_bytes, request.block_bytes)) {
        return fail(Code::kRefused,
                    "the source has more blocks than a run can have; take larger ones (--block)");
    }
    std::optional<TargetMemory> memory = TRY(remembered(store, opened.target));
    if (memory && commit_if_sealed(*memory, opened) && !request.dry_run) {
        TRY_STATUS(store.save(*memory));
        TRY_STATUS(store.drop_pending(memory->target));
    }
    PreparedRun run;
    if (request.changes) {
        run.harvest = TRY(harvest_of(store, opened.target, *request.changes, request.dry_run));
        request.run.tracked = tracked_of(*request.changes, run.harvest, memory);
    }
    run.decision = TRY(decide_run(request.run, memory, opened));
    run.memory = memory.value_or(TargetMemory{.target = opened.target});
    // A map is 32 MiB for 16 TiB: none is made that is not needed.
    const bool harvested = run.harvest && run.harvest->changes.block_count() > 0;
    if (run.decision.mode != RunMode::kScan || !request.extents.empty() || harvested) {
        run.plan = ChangeMap(request.run.volume_bytes, request.block_bytes);
    }
    // Noted whatever the mode: a list that comes with the resumption of a comparison is not given
    // again when that fails too.
    for (const Extent& extent : request.extents)
        run.plan.mark(extent);
    if (harvested) {
        run.plan.merge(
            run.harvest->changes.resampled(request.run.volume_bytes, request.block_bytes));
    }
    switch (run.decision.mode) {
        case RunMode::kFull:
            run.plan.mark_all();
            break;
        case RunMode::kExtents:
            run.changed_bytes =
                request.changes ? run.plan.marked_bytes() : total_bytes(request.extents);
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
    if (run.decision.mode == RunMode::kFull) run.changed_bytes = request.run.volume_bytes;
    run.begin = make_begin(request, run.decision, run.memory, opened, run.plan.digest());
    draw_audit(run, request);
    if (request.dry_run) return run;
    // The union first, the record that names the run after it: a crash between leaves too much
    // pending.
    TRY_STATUS(note_plan(run, store));
    remember_begun(run.memory, request, run.begin);
    take_over_doubts(run);
    TRY_STATUS(store.save(run.memory));
    if (run.harvest) {
        clear(*run.harvest);
        TRY_STATUS(store.save_harvest(*run.harvest));
    }
    return run;
}

Status note_plan(const PreparedRun& run, SourceStore& store) {
    if (run.plan.block_count() == 0) return {};
    auto pending = store.pending(run.memory.target);
    if (!pending && pending.error().code != Code::kCorrupt) return std::unexpected(pending.error());
    if (pending && !*pending) return store.save_pending(run.memory.target, run.plan);
    ChangeMap changes = run.plan;
    if (!pending) changes.mark_all();
    if (pending)
        changes.merge((*pending)->resampled(changes.volume_bytes(), changes.block_bytes()));
    return store.save_pending(run.memory.target, changes);
}

Status distrust_plan(PreparedRun& run, SourceStore& store) {
    run.memory.pending_trust = Trust::kUnknown;
    run.memory.pending_doubt = Cause::kAuditFailed;
    return store.save(run.memory);
}

Status distrust_harvests(const Uuid& tracker, SourceStore& store) {
    for (Harvest& harvest : TRY(store.harvests())) {
        if (harvest.tracker != tracker) continue;
        harvest.trust = Trust::kUnknown;
        harvest.doubt = Harvest::Doubt::kAudit;
        TRY_STATUS(store.save_harvest(harvest));
    }
    return {};
}

Status commit_run(PreparedRun& run, SourceStore& store) {
    commit_open_run(run.memory);
    TRY_STATUS(store.save(run.memory));
    return store.drop_pending(run.memory.target);
}

}  // namespace towline
