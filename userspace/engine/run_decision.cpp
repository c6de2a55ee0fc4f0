// SPDX-License-Identifier: Apache-2.0
// The order of questions: may the target be written to at all, can the unfinished run go on, is
// there a base that a list of changes can stand on, and if not, why.

#include "userspace/engine/run_decision.hpp"

#include <algorithm>

namespace towline {

std::string_view cause_name(Cause cause) {
    switch (cause) {
        case Cause::kRequestedFull:
            return "requested-full";
        case Cause::kRequestedScan:
            return "requested-scan";
        case Cause::kChangeList:
            return "change-list";
        case Cause::kFirstCopy:
            return "first-copy";
        case Cause::kNoTracker:
            return "no-tracker";
        case Cause::kUnknownTarget:
            return "unknown-target";
        case Cause::kOtherSource:
            return "other-source";
        case Cause::kTargetDiffers:
            return "target-differs";
        case Cause::kTargetChanged:
            return "target-changed";
        case Cause::kUnfinishedRun:
            return "unfinished-run";
        case Cause::kTargetFlushFailed:
            return "target-flush-failed";
        case Cause::kSourceResized:
            return "source-resized";
        case Cause::kSourceReverted:
            return "source-reverted";
        case Cause::kSourceReformatted:
            return "source-reformatted";
        case Cause::kTracked:
            return "tracked";
        case Cause::kHotRegions:
            return "hot-regions";
        case Cause::kTrackerNew:
            return "tracker-new";
        case Cause::kTrackerGap:
            return "tracker-gap";
        case Cause::kChangesTaken:
            return "changes-taken";
        case Cause::kSourceForeign:
            return "source-foreign";
        case Cause::kAuditFailed:
            return "audit-failed";
        case Cause::kResumed:
            return "resumed";
        case Cause::kVolumesChanged:
            return "volumes-changed";
    }
    return "unknown";
}

std::string_view cause_text(Cause cause) {
    switch (cause) {
        case Cause::kRequestedFull:
            return "a full copy was asked for";
        case Cause::kRequestedScan:
            return "a comparison was asked for";
        case Cause::kChangeList:
            return "the change list stands on the base that the target holds";
        case Cause::kFirstCopy:
            return "the target did not exist or was empty";
        case Cause::kNoTracker:
            return "nothing tracks this volume's changes";
        case Cause::kUnknownTarget:
            return "this source has no record of a run to this target";
        case Cause::kOtherSource:
            return "the target was the replica of another source";
        case Cause::kTargetDiffers:
            return "the target holds another moment than this source left there (rolled back, or a "
                   "second target)";
        case Cause::kTargetChanged:
            return "the target was replaced or written to since its last run";
        case Cause::kUnfinishedRun:
            return "an earlier run to this target was cut off";
        case Cause::kTargetFlushFailed:
            return "a flush of the target failed, so what it reads back need not be stored";
        case Cause::kSourceResized:
            return "the source's size changed since the last run";
        case Cause::kSourceReformatted:
            return "the source holds another filesystem than at its last run";
        case Cause::kSourceReverted:
            return "the source was put back to an older state since the last run";
        case Cause::kTracked:
            return "the tracker's changes stand on the base that the target holds";
        case Cause::kHotRegions:
            return "the tracking survived a crash: regions that were being written are compared";
        case Cause::kTrackerNew:
            return "the tracking began after the target's last run";
        case Cause::kTrackerGap:
            return "the tracker missed changes, or cannot tell whether it did";
        case Cause::kChangesTaken:
            return "somebody else took changes from the tracker that this source never saw";
        case Cause::kSourceForeign:
            return "the source was written to while nothing tracked it";
        case Cause::kAuditFailed:
            return "a block that the tracker held to be unchanged had changed";
        case Cause::kResumed:
            return "an unfinished run goes on where the target durably is";
        case Cause::kVolumesChanged:
            return "the run has other volumes than the one before it";
    }
    return "";
}

void commit_open_run(TargetMemory& memory) {
    memory.base = memory.open_base;
    memory.volume_bytes = memory.open_volume_bytes;
    memory.modified_ns = memory.open_modified_ns;
    memory.filesystem = memory.open_filesystem;
    memory.volumes = memory.open_volumes;
    memory.open_runs.clear();
    memory.free_left_out = memory.open_free_left_out ||
                           (memory.free_left_out && memory.open_mode == RunMode::kExtents);
    memory.open_free_left_out = false;
    memory.audit = memory.open_audit;
    memory.open_mode = {};
    memory.open_plan_digest = 0;
    memory.open_base = {};
    memory.flush_failed_run = {};
    memory.pending_trust = Trust::kExact;
    memory.pending_doubt = {};
}

bool commit_if_sealed(TargetMemory& memory, const OpenedMessage& opened) {
    const bool sealed = !memory.open_runs.empty() && opened.state == TargetState::kSealed &&
                        opened.run == memory.open_runs.back() && opened.base == memory.open_base;
    if (sealed) commit_open_run(memory);
    return sealed;
}

std::optional<Cause> source_doubt(const RunRequest& request, const TargetMemory& memory) {
    const Cause sticks = memory.pending_doubt;
    const bool of_source = sticks == Cause::kVolumesChanged || sticks == Cause::kSourceResized ||
                           sticks == Cause::kSourceReverted || sticks == Cause::kSourceReformatted;
    if (memory.pending_trust == Trust::kUnknown && of_source) return sticks;
    // The pending map of a run that had other volumes, or another size, speaks of other bytes.
    const bool open = !memory.open_runs.empty();
    if (open && memory.open_volumes != request.volumes) return Cause::kVolumesChanged;
    if (open && memory.open_volume_bytes != request.volume_bytes) return Cause::kSourceResized;
    if (memory.base.sequence == 0) return std::nullopt;
    if (memory.volumes != request.volumes) return Cause::kVolumesChanged;
    if (memory.volume_bytes != request.volume_bytes) return Cause::kSourceResized;
    // A tracker sees a volume being formatted as it sees any other write.
    const bool tracked_since = request.tracked && memory.base.tracker == request.tracked->tracker;
    if (!tracked_since && memory.filesystem != request.filesystem) return Cause::kSourceReformatted;
    if (request.modified_ns < memory.modified_ns) return Cause::kSourceReverted;
    return std::nullopt;
}

namespace {

// A comparison would believe reads that a failed flush has made worthless, and so would a list and
// a resumption.
bool flush_failed(const std::optional<TargetMemory>& memory, const OpenedMessage& opened) {
    return !opened.flush_failed_run.is_nil() || (memory && !memory->flush_failed_run.is_nil());
}

// A full run that began after the failure writes everything, and what it acknowledged was flushed.
bool began_after_failure(const std::optional<TargetMemory>& memory, const OpenedMessage& opened) {
    return opened.run_mode == RunMode::kFull && opened.run != opened.flush_failed_run &&
           (!memory || opened.run != memory->flush_failed_run);
}

// Why no list of changes can stand on what the target holds; nothing when one can.
std::optional<Cause> why_no_base(const RunRequest& request,
                                 const std::optional<TargetMemory>& memory,
                                 const OpenedMessage& opened) {
    if (opened.state == TargetState::kUnclaimed) {
        if (opened.changed) return Cause::kTargetChanged;
        return !opened.exists || opened.empty ? Cause::kFirstCopy : Cause::kUnknownTarget;
    }
    if (opened.owner != request.source) return Cause::kOtherSource;
    if (flush_failed(memory, opened)) return Cause::kTargetFlushFailed;
    if (opened.state == TargetState::kBuilding) return Cause::kUnfinishedRun;
    if (!memory || memory->base.sequence == 0) return Cause::kUnknownTarget;
    if (opened.base != memory->base) return Cause::kTargetDiffers;
    if (opened.state == TargetState::kApplying) {
        // Partly overwritten: fine if every run that did so is among those whose changes we still
        // hold.
        const auto& runs = memory->open_runs;
        if (std::find(runs.begin(), runs.end(), opened.run) == runs.end())
            return Cause::kUnfinishedRun;
    }
    return source_doubt(request, *memory);
}

// Why the tracker's word is no list of changes for this target; nothing when it is one.
std::optional<Cause> why_not_tracked(const RunRequest& request, const TargetMemory& memory) {
    if (!request.tracked) return Cause::kNoTracker;
    if (memory.base.tracker != request.tracked->tracker) return Cause::kTrackerNew;
    if (request.tracked->trust == Trust::kUnknown) return request.tracked->doubt;
    return std::nullopt;
}

// Whether a run of listed changes that was cut off can go on: what changed since must be known as
// well. What is only suspected to have changed is compared anew instead: that finds what is there.
bool list_stands(const RunRequest& request, const TargetMemory& memory) {
    if (!request.tracked) return memory.open_base.tracker.is_nil();
    return !why_not_tracked(request, memory) && request.tracked->trust == Trust::kExact;
}

Status may_write(const RunRequest& request, const OpenedMessage& opened) {
    if (opened.is_device && opened.size_bytes < request.volume_bytes) {
        return fail(Code::kRefused, "the target is smaller than the source (" +
                                        std::to_string(opened.size_bytes) + " < " +
                                        std::to_string(request.volume_bytes) +
                                        " bytes); use a device of at least the source's size");
    }
    if (request.overwrite) return {};
    if (opened.state != TargetState::kUnclaimed && opened.owner != request.source) {
        return fail(Code::kRefused,
                    "the target is the replica of another source; choose another target, or say "
                    "--overwrite to "
                    "replace it");
    }
    const bool foreign = opened.state == TargetState::kUnclaimed && opened.has_data;
    // An explicit --scan says that the target is an older copy; that is put to the proof
    // (must_resemble). With
    // --extents the missing base is the better reason to name.
    const bool own_reason =
        request.kind == RunRequest::Kind::kScan || request.kind == RunRequest::Kind::kExtents;
    if (foreign && !own_reason) {
        return fail(
            Code::kRefused,
            std::string(opened.changed ? "the target was replaced or written to since its last run"
                                       : "the target holds data and is no replica of this source") +
                "; if it may be replaced say --overwrite, if it is an older copy of the "
                "source say --scan");
    }
    return {};
}

// Who asks for everything is not served by what an older run's list has left to bring.
bool is_as_asked(const RunRequest& request, const OpenedMessage& opened) {
    if (request.kind == RunRequest::Kind::kFull) return opened.run_mode == RunMode::kFull;
    return request.kind != RunRequest::Kind::kScan || opened.run_mode != RunMode::kExtents;
}

bool can_resume(const RunRequest& request, const std::optional<TargetMemory>& memory,
                const OpenedMessage& opened) {
    const bool unfinished =
        opened.state == TargetState::kBuilding || opened.state == TargetState::kApplying;
    return unfinished && memory && !memory->open_runs.empty() && opened.owner == request.source &&
           opened.run == memory->open_runs.back() && opened.run_mode == memory->open_mode &&
           opened.plan_digest == memory->open_plan_digest &&
           memory->open_volumes == request.volumes &&
           memory->open_volume_bytes == request.volume_bytes;
}

}  // namespace

Result<RunDecision> decide_run(const RunRequest& request, const std::optional<TargetMemory>& memory,
                               const OpenedMessage& opened) {
    using Kind = RunRequest::Kind;
    TRY_STATUS(may_write(request, opened));
    const auto no_base = why_no_base(request, memory, opened);
    // A run of listed changes goes on only upon its base; a copy or comparison of everything needs
    // none.
    const bool lost = flush_failed(memory, opened);
    const bool stands =
        lost ? began_after_failure(memory, opened)
             : opened.run_mode != RunMode::kExtents || (!no_base && list_stands(request, *memory));
    // A run goes on as it began: who wants no journal begins anew.
    const bool as_began = (!request.direct || !opened.staging) && is_as_asked(request, opened);
    if (request.resume && stands && as_began && can_resume(request, memory, opened)) {
        return RunDecision{.mode = opened.run_mode,
                           .cause = Cause::kResumed,
                           .resume = true,
                           .include_pending = true};
    }
    if (request.kind == Kind::kFull)
        return RunDecision{.mode = RunMode::kFull, .cause = Cause::kRequestedFull};
    if (request.kind == Kind::kExtents) {
        if (!no_base) {
            return RunDecision{
                .mode = RunMode::kExtents, .cause = Cause::kChangeList, .include_pending = true};
        }
        return fail(Code::kRefused,
                    "the change list cannot be used: " + std::string(cause_text(*no_base)) +
                        "; run once without --extents to make the target a replica of this source");
    }
    const bool fresh = opened.state == TargetState::kUnclaimed && (!opened.exists || opened.empty);
    if (fresh) return RunDecision{.mode = RunMode::kFull, .cause = Cause::kFirstCopy};
    if (lost) return RunDecision{.mode = RunMode::kFull, .cause = Cause::kTargetFlushFailed};
    const auto no_list = no_base ? no_base : why_not_tracked(request, *memory);
    if (request.kind == Kind::kAuto && !no_list) {
        const bool hot = request.tracked->trust == Trust::kSuperset;
        return RunDecision{.mode = RunMode::kExtents,
                           .cause = hot ? Cause::kHotRegions : Cause::kTracked,
                           .include_pending = true,
                           .compare_listed = hot};
    }
    const bool foreign =
        opened.state == TargetState::kUnclaimed && opened.has_data && !request.overwrite;
    const Cause cause = request.kind == Kind::kScan ? Cause::kRequestedScan : *no_list;
    return RunDecision{.mode = RunMode::kScan, .cause = cause, .must_resemble = foreign};
}

}  // namespace towline
