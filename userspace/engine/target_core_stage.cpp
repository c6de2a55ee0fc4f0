// SPDX-License-Identifier: Apache-2.0
// What the target decides of a run that is staged (docs/format-staged.md): which one is, and how it
// comes onto the volume, in this session or in a later one.

#include "userspace/engine/target_core.hpp"

namespace towline {

namespace act = target_action;
namespace ev = target_event;

// A target that is whole stays so; one that holds no moment has nothing to keep. A run that is
// resumed goes on as it began.
bool TargetCore::to_be_staged(const BeginMessage& begin) const {
    const TargetRecord& record = facts_.record;
    const bool staging = record.stage == TargetRecord::Stage::kStaging;
    if (!facts_.can_stage || begin.dry_run) return false;
    if (begin.resume) return staging;
    const bool whole = record.state == TargetState::kSealed || staging;
    return whole && !begin.direct && record.flush_failed_run.is_nil();
}

// The volume, and all that is said of it, is the old one.
TargetRecord TargetCore::record_staging() const {
    TargetRecord record = facts_.record;
    record.state = TargetState::kApplying;
    record.run = begin_.run;
    record.run_mode = begin_.mode;
    record.plan_digest = begin_.plan_digest;
    record.stage = TargetRecord::Stage::kStaging;
    record.run_base = begin_.next_base;
    record.volume_bytes = open_.source_bytes;
    return record;
}

void TargetCore::on(const ev::Committed&, Actions& actions) {
    if (phase_ != Phase::kCommit) return;
    committed_ = true;
    phase_ = Phase::kApply;
    actions.push_back(act::Apply{});
}

void TargetCore::on(const ev::Applied&, Actions& actions) {
    if (phase_ == Phase::kApply) return settle(actions);
    if (phase_ != Phase::kReplay) return;
    if (facts_.record.verify) return actions.push_back(act::RereadStaged{});
    actions.push_back(act::Seal{.record = sealed_from(facts_.record)});
}

// Applied once more it would read back no better: the run that follows brings it anew.
void TargetCore::on_replay_reread(bool equal, Actions& actions) {
    if (!equal) return give_replay_up(actions);
    actions.push_back(act::Seal{.record = sealed_from(facts_.record), .reread = true});
}

void TargetCore::give_replay_up(Actions& actions) {
    facts_.record = stage_lost(facts_.record);
    actions.push_back(act::Mark{.record = facts_.record, .keep_journal = false});
    open_up(actions);
}

void TargetCore::on(const ev::StageLost& event, Actions& actions) {
    if (phase_ == Phase::kReplay) return give_replay_up(actions);
    if (phase_ == Phase::kApply)
        actions.push_back(act::Mark{.record = stage_lost(record_staging()), .keep_journal = false});
    fail_with(event.error, actions);
}

}  // namespace towline
