// SPDX-License-Identifier: Apache-2.0
// Rules 1 to 3 in order of time: catch up with what the target sealed behind our back, decide,
// build the plan out of the new changes and the pending ones, and make the union durable before the
// target hears of the run.

#include "userspace/engine/run_preparation.hpp"

#include <algorithm>

#include "cbt/change_map_format.hpp"

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
    begin.block_bytes = request.block_bytes;
    begin.plan_digest = decision.resume ? opened.plan_digest : plan_digest;
    begin.expected_state = opened.state;
    begin.expected_base = opened.base;
    begin.next_base = {.source = request.run.source,
                       .sequence = next_sequence(memory, opened),
                       .point = request.draw()};
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
}

}  // namespace

Result<PreparedRun> prepare_run(const SourceRequest& request, SourceStore& store,
                                const OpenedMessage& opened) {
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
    run.decision = TRY(decide_run(request.run, memory, opened));
    run.memory = memory.value_or(TargetMemory{.target = opened.target});
    // A map is 32 MiB for 16 TiB: none is made that is not needed.
    if (run.decision.mode != RunMode::kScan || !request.extents.empty()) {
        run.plan = ChangeMap(request.run.volume_bytes, request.block_bytes);
    }
    // Noted whatever the mode: a list that comes with the resumption of a comparison is not given
    // again when that fails too.
    for (const Extent& extent : request.extents)
        run.plan.mark(extent);
    switch (run.decision.mode) {
        case RunMode::kFull:
            run.plan.mark_all();
            break;
        case RunMode::kExtents:
            run.changed_bytes = total_bytes(request.extents);
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
    if (request.dry_run) return run;
    // The union first, the record that names the run after it: a crash between leaves too much
    // pending.
    TRY_STATUS(note_plan(run, store));
    remember_begun(run.memory, request, run.begin);
    TRY_STATUS(store.save(run.memory));
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

Status commit_run(PreparedRun& run, SourceStore& store) {
    commit_open_run(run.memory);
    TRY_STATUS(store.save(run.memory));
    return store.drop_pending(run.memory.target);
}

}  // namespace towline
