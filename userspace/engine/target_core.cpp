// SPDX-License-Identifier: Apache-2.0
// The target's decisions. Phases follow the conversation (docs/format-wire.md): hello, open, look,
// begin, prepare, compare, transfer, reread, seal. The checkpoint (flush, then journal, then
// acknowledge) runs beside the transfer as a small machine of its own.

#include "userspace/engine/target_core.hpp"

#include <algorithm>

#include "cbt/change_map_format.hpp"
#include "transport/wire_format.hpp"
#include "userspace/engine/standing.hpp"

namespace towline {

namespace act = target_action;
namespace ev = target_event;

void TargetCore::step(const TargetEvent& event, Instant now, Actions& actions) {
    now_ = now;
    if (finished()) return;
    std::visit([&](const auto& each) { on(each, actions); }, event);
}

void TargetCore::fail_with(Error error, Actions& actions) {
    phase_ = Phase::kFailed;
    actions.push_back(act::Fail{std::move(error)});
}

void TargetCore::unexpected(Actions& actions) {
    fail_with({Code::kProtocol, 0, "the source sent a message that does not belong here"}, actions);
}

void TargetCore::on(const ev::Received& event, Actions& actions) {
    std::visit([&](const auto& message) { on_message(message, actions); }, event.message);
}

void TargetCore::on_message(const HelloMessage& hello, Actions& actions) {
    if (phase_ != Phase::kHello) return unexpected(actions);
    const auto version = agree_version(HelloMessage{}, hello);
    if (!version) return fail_with(version.error(), actions);
    phase_ = Phase::kOpen;
    pinged_at_ = now_;
    actions.push_back(act::Send{HelloMessage{.capabilities = limits_.capabilities}});
}

void TargetCore::on_message(const VolumesMessage& volumes, Actions& actions) {
    if (phase_ != Phase::kOpen || !layout_.parts().empty()) return unexpected(actions);
    auto layout = VolumeLayout::of(volumes.volumes);
    if (!layout) {
        return fail_with({Code::kProtocol, 0, "the source's volumes: " + layout.error().context},
                         actions);
    }
    layout_ = std::move(*layout);
}

void TargetCore::on_message(const ProbeMessage& probe, Actions& actions) {
    if (phase_ != Phase::kOpen || ++probe_count_ > wire::kProbesMax) return unexpected(actions);
    probed_bytes_ += probe.filler.size() * sizeof(probe.filler.front());
    actions.push_back(act::AnswerProbe{probed_bytes_});
}

// Once: it costs the disk a second.
void TargetCore::on_message(const ProbeDiskMessage& probe, Actions& actions) {
    if (phase_ != Phase::kOpen || disk_probed_) return unexpected(actions);
    disk_probed_ = true;
    phase_ = Phase::kProbeDisk;
    actions.push_back(act::ProbeDisk{probe.name});
}

void TargetCore::on(const ev::DiskProbed& event, Actions& actions) {
    if (phase_ != Phase::kProbeDisk) return;
    phase_ = Phase::kOpen;
    actions.push_back(act::Send{event.found});
}

void TargetCore::on_message(const OpenMessage& open, Actions& actions) {
    if (phase_ != Phase::kOpen) return unexpected(actions);
    const Status possible = check_standing(open.standing);
    if (!possible) return fail_with(possible.error(), actions);
    if (layout_.parts().empty()) layout_ = VolumeLayout::of_one(open.source, open.source_bytes);
    if (layout_.parts().front().source != open.source ||
        layout_.size_bytes() != open.source_bytes) {
        return fail_with({Code::kProtocol, 0, "the source opens other volumes than it told of"},
                         actions);
    }
    open_ = open;
    phase_ = Phase::kLook;
    actions.push_back(act::Look{.name = open.name,
                                .source = open.source,
                                .dry_run = open.dry_run,
                                .standing = open.standing,
                                .layout = layout_});
}

void TargetCore::on(const ev::Looked& event, Actions& actions) {
    if (phase_ != Phase::kLook) return;
    facts_ = event.facts;
    join_token_ = event.join_token;
    if (facts_.record.stage != TargetRecord::Stage::kCommitted) return open_up(actions);
    phase_ = Phase::kReplay;
    actions.push_back(act::Replay{facts_.record});
}

void TargetCore::open_up(Actions& actions) {
    if (peer_gone_)
        return fail_with({Code::kDisconnected, 0, "the source went away meanwhile"}, actions);
    phase_ = Phase::kBegin;
    actions.push_back(act::Send{opened()});
}

OpenedMessage TargetCore::opened() const {
    const TargetRecord& record = facts_.record;
    return {.exists = facts_.exists,
            .is_device = facts_.is_device,
            .empty = facts_.empty,
            .has_data = facts_.has_data,
            .changed = facts_.changed,
            .target = record.target,
            .size_bytes = facts_.size_bytes,
            .state = record.state,
            .base = record.base,
            .run = record.run,
            .run_mode = record.run_mode,
            .plan_digest = record.plan_digest,
            .run_base = record.run_base,
            .staging = record.stage == TargetRecord::Stage::kStaging,
            .flush_failed_run = record.flush_failed_run,
            .owner = record.owner,
            .join_token = join_token_,
            .engine = engine_name_};
}

void TargetCore::on_message(const BeginMessage& begin, Actions& actions) {
    if (phase_ != Phase::kBegin) return unexpected(actions);
    const Status checked = check_begin(begin);
    if (!checked) return fail_with(checked.error(), actions);
    begin_ = begin;
    staged_ = to_be_staged(begin);
    phase_ = Phase::kPrepare;
    actions.push_back(act::Prepare{.volume_bytes = open_.source_bytes,
                                   .dry_run = begin.dry_run,
                                   .rewrite = !facts_.record.flush_failed_run.is_nil()});
}

Status TargetCore::check_begin(const BeginMessage& begin) const {
    const bool block_fits = begin.block_bytes >= wire::kBlockBytesMin &&
                            begin.block_bytes <= wire::kBlockBytesMax &&
                            (begin.block_bytes & (begin.block_bytes - 1)) == 0;
    if (!block_fits)
        return fail(Code::kProtocol, "the source asked for a block size that cannot be");
    if (open_.source_bytes == 0) return fail(Code::kRefused, "the source is empty (0 bytes)");
    if (!change_map_format::geometry_allowed(open_.source_bytes, begin.block_bytes)) {
        return fail(Code::kRefused,
                    "the source has more blocks than a run can have; take larger ones (--block)");
    }
    if (begin.next_base.source != open_.source || begin.run.is_nil()) {
        return fail(Code::kProtocol, "the source began a run in another's name");
    }
    if (facts_.is_device && facts_.size_bytes < open_.source_bytes) {
        return fail(Code::kRefused, "the target is smaller than the source (" +
                                        std::to_string(facts_.size_bytes) + " < " +
                                        std::to_string(open_.source_bytes) +
                                        " bytes); use a device of at least the source's size");
    }
    if (begin.compare_listed && (begin.mode != RunMode::kExtents || begin.resume)) {
        return fail(Code::kProtocol, "the source asked for a comparison that cannot be");
    }
    TRY_STATUS(check_overwrite(begin));
    return check_base(begin);
}

// The source checks all this too; the target believes no source.
Status TargetCore::check_overwrite(const BeginMessage& begin) const {
    if (begin.overwrite) return {};
    const TargetRecord& record = facts_.record;
    if (record.state != TargetState::kUnclaimed && record.owner != open_.source) {
        return fail(Code::kRefused,
                    "the target is the replica of another source; choose another target, or say "
                    "--overwrite");
    }
    if (record.state == TargetState::kUnclaimed && facts_.has_data &&
        begin.mode != RunMode::kScan) {
        return fail(Code::kRefused,
                    "the target holds data that did not come from this source; choose another "
                    "target, or say "
                    "--overwrite to replace it");
    }
    return {};
}

Status TargetCore::check_base(const BeginMessage& begin) const {
    const TargetRecord& record = facts_.record;
    if (begin.expected_state != record.state || begin.expected_base != record.base) {
        return fail(Code::kRefused,
                    "the target moved on while the run was prepared; start the run again");
    }
    if (begin.resume &&
        (!record.unfinished() || record.run != begin.run ||
         record.plan_digest != begin.plan_digest || record.volume_bytes != open_.source_bytes)) {
        return fail(Code::kRefused,
                    "the run that is to be resumed is not the target's unfinished one");
    }
    if (!record.flush_failed_run.is_nil() &&
        (begin.mode != RunMode::kFull || (begin.resume && begin.run == record.flush_failed_run))) {
        return fail(Code::kRefused,
                    "a flush of the target failed, so what it reads back need not be stored; run "
                    "once with --full");
    }
    if (begin.mode == RunMode::kExtents) {
        const bool based =
            record.state == TargetState::kSealed || record.state == TargetState::kApplying;
        if (!based || record.owner != open_.source || record.volume_bytes != open_.source_bytes) {
            return fail(Code::kRefused,
                        "the target holds no base for a list of changes; run once with --scan");
        }
    }
    return {};
}

void TargetCore::on(const ev::Prepared& event, Actions& actions) {
    if (phase_ != Phase::kPrepare) return;
    arrived_map_ = ChangeMap(open_.source_bytes, begin_.block_bytes);
    checkpoint_at_ = now_;
    actions.push_back(act::Begin{.begin = begin_, .staged = staged_});
    // Zeros are staged too: they may stand above what an earlier session staged.
    actions.push_back(
        act::Send{BegunMessage{.zeroed = event.zeroed && !staged_, .staged = staged_}});
    phase_ = Phase::kCompare;
    if (begin_.mode == RunMode::kScan) {
        actions.push_back(act::CompareAll{});
    } else if (begin_.compare_listed) {
        listed_ = ChangeMap(open_.source_bytes, begin_.block_bytes);
        phase_ = Phase::kListed;
    } else if (begin_.resume) {
        actions.push_back(act::CompareAcknowledged{});
    } else {
        phase_ = Phase::kTransfer;
    }
}

void TargetCore::on_message(const RangesMessage& ranges, Actions& actions) {
    if (phase_ != Phase::kListed) return unexpected(actions);
    for (const RangesMessage::Range& range : ranges.ranges) {
        if (range.offset_bytes > open_.source_bytes ||
            range.length_bytes > open_.source_bytes - range.offset_bytes) {
            return fail_with(
                {Code::kProtocol, 0, "the source asks for what its volume does not have"}, actions);
        }
        listed_.mark({range.offset_bytes, range.length_bytes});
    }
    if (!ranges.last) return;
    phase_ = Phase::kCompare;
    actions.push_back(act::CompareListed{std::move(listed_)});
    listed_ = {};
}

void TargetCore::on(const ev::CompareSent&, Actions&) {
    if (phase_ == Phase::kCompare) phase_ = Phase::kTransfer;
}

Status TargetCore::admit(Extent extent) {
    if (phase_ != Phase::kTransfer || end_digest_.has_value()) {
        // Further connections may be behind the first: after End blocks still come, but only what
        // it counted.
        const bool late = phase_ == Phase::kTransfer && own_digest_.records < end_digest_->records;
        if (!late) return fail(Code::kProtocol, "the source sent blocks when none were due");
    }
    if (begin_.dry_run) return fail(Code::kProtocol, "the source sent blocks in a dry run");
    if (extent.length_bytes == 0 || extent.offset_bytes >= open_.source_bytes ||
        extent.length_bytes > open_.source_bytes - extent.offset_bytes ||
        extent.offset_bytes % begin_.block_bytes != 0) {
        return fail(Code::kProtocol, "the source sent blocks that are not of the volume");
    }
    const bool whole =
        extent.length_bytes % begin_.block_bytes == 0 || extent.end_bytes() == open_.source_bytes;
    if (!whole) return fail(Code::kProtocol, "the source sent a part of a block");
    const BlockRun run{
        .first = extent.offset_bytes / begin_.block_bytes,
        .count = (extent.length_bytes + begin_.block_bytes - 1) / begin_.block_bytes};
    if (arrived_map_.any_set(run)) return fail(Code::kProtocol, "the source sent a block twice");
    arrived_map_.mark_blocks(run);
    return {};
}

TargetRecord TargetCore::record_under_way() const {
    const TargetRecord& old = facts_.record;
    const bool based = (old.state == TargetState::kSealed || old.state == TargetState::kApplying) &&
                       old.owner == open_.source;
    return {.state = based ? TargetState::kApplying : TargetState::kBuilding,
            .target = old.target,
            .base = based ? old.base : Base{},
            .owner = open_.source,
            .run = begin_.run,
            .run_mode = begin_.mode,
            .plan_digest = begin_.plan_digest,
            .run_base = begin_.next_base,
            .volume_bytes = open_.source_bytes,
            .flush_failed_run = old.flush_failed_run};
}

TargetRecord TargetCore::record_flush_failed() const {
    TargetRecord record = record_under_way();
    record.flush_failed_run = begin_.run;
    return record;
}

TargetRecord TargetCore::record_sealed() const {
    return {.state = TargetState::kSealed,
            .target = facts_.record.target,
            .base = begin_.next_base,
            .owner = open_.source,
            .run = begin_.run,
            .volume_bytes = open_.source_bytes};
}

void TargetCore::mark_once(Actions& actions) {
    if (marked_) return;
    marked_ = true;
    actions.push_back(act::Mark{.record = staged_ ? record_staging() : record_under_way(),
                                .keep_journal = begin_.resume});
}

void TargetCore::on(const ev::Arrived& event, Actions& actions) {
    mark_once(actions);
    under_way_ += event.extent.length_bytes;
}

void TargetCore::on(const ev::Stored& event, Actions& actions) {
    under_way_ -= event.extent.length_bytes;
    stored_bytes_ += event.extent.length_bytes;
    stored_unflushed_bytes_ += event.extent.length_bytes;
    if (!stored_.empty() && stored_.back().end_bytes() == event.extent.offset_bytes) {
        stored_.back().length_bytes += event.extent.length_bytes;
    } else {
        stored_.push_back(event.extent);
    }
    try_checkpoint(actions);
    try_finish(actions);
}

void TargetCore::try_checkpoint(Actions& actions) {
    if (checkpoint_ != Checkpoint::kNone || stored_.empty() || end_digest_) return;
    const bool due = stored_unflushed_bytes_ >= limits_.checkpoint_bytes ||
                     now_ - checkpoint_at_ >= limits_.checkpoint_interval;
    if (!due) return;
    checkpoint_ = Checkpoint::kFlushing;
    checkpoint_at_ = now_;
    stored_unflushed_bytes_ = 0;
    flushing_.swap(stored_);
    stored_.clear();
    actions.push_back(act::Flush{});
}

void TargetCore::on(const ev::Flushed&, Actions& actions) {
    if (checkpoint_ != Checkpoint::kFlushing) return;
    checkpoint_at_ = now_;
    if (end_digest_ && !staged_) {
        // The seal follows: the journal would be dropped with it.
        flushing_.clear();
        checkpoint_ = Checkpoint::kNone;
        return try_finish(actions);
    }
    checkpoint_ = Checkpoint::kJournaling;
    actions.push_back(act::Journal{flushing_});
}

void TargetCore::on(const ev::FlushFailed& event, Actions& actions) {
    phase_ = Phase::kFailed;
    actions.push_back(act::Fail{.error = event.error, .flush_failed = true});
}

void TargetCore::on(const ev::Journaled&, Actions& actions) {
    if (checkpoint_ != Checkpoint::kJournaling) return;
    checkpoint_ = Checkpoint::kNone;
    durable_bytes_ += total_bytes(flushing_);
    flushing_.clear();
    actions.push_back(act::Send{AckMessage{.durable_bytes = durable_bytes_}});
    try_finish(actions);
}

void TargetCore::on_message(const MomentMessage& moment, Actions& actions) {
    if (phase_ != Phase::kTransfer || end_digest_ || moment_) return unexpected(actions);
    moment_ = moment;
}

void TargetCore::on_message(const VerifyMessage& verify, Actions& actions) {
    if (phase_ != Phase::kTransfer || end_digest_) return unexpected(actions);
    begin_.verify = verify.verify;
}

void TargetCore::on_message(const EndMessage& end, Actions& actions) {
    // A dry run has no end to be sealed.
    if (phase_ != Phase::kTransfer || end_digest_ || begin_.dry_run) return unexpected(actions);
    end_digest_ = end.digest;
    try_finish(actions);
}

void TargetCore::try_finish(Actions& actions) {
    if (phase_ != Phase::kTransfer || !end_digest_) return;
    if (own_digest_.records > end_digest_->records) {
        return fail_with({Code::kProtocol, 0, "more arrived than the source says it sent"},
                         actions);
    }
    if (own_digest_.records < end_digest_->records || under_way_ > 0) return;
    if (own_digest_ != *end_digest_) {
        return fail_with(
            {Code::kCorrupt, 0, "what arrived is not what the source read (run digests differ)"},
            actions);
    }
    if (checkpoint_ != Checkpoint::kNone) return;
    // Once at the end even when nothing came: what a comparison (or a look at the holes) found may
    // be what an earlier run wrote and died before it flushed.
    if (!stored_.empty() || !flushed_at_end_) {
        flushed_at_end_ = true;
        checkpoint_ = Checkpoint::kFlushing;
        flushing_.swap(stored_);
        stored_.clear();
        actions.push_back(act::Flush{});
        return;
    }
    // A resumed run may have brought all of it before.
    if (!staged_ || (!marked_ && !begin_.resume)) return settle(actions);
    phase_ = Phase::kCommit;
    TargetRecord record = record_staging();
    record.stage = TargetRecord::Stage::kCommitted;
    record.verify = begin_.verify;
    actions.push_back(act::Commit{record});
}

// All of the run is on the volume.
void TargetCore::settle(Actions& actions) {
    phase_ = begin_.verify ? Phase::kReread : Phase::kSeal;
    if (begin_.verify) {
        actions.push_back(act::Reread{});
    } else {
        actions.push_back(act::Seal{.record = record_sealed(), .reread = false, .moment = moment_});
    }
}

std::string TargetCore::place_of(std::uint64_t offset_bytes) const {
    const VolumePart* part = layout_.part_at(offset_bytes);
    const std::string at = "byte " + std::to_string(offset_bytes - (part ? part->start_bytes : 0));
    return at + " of the volume" + (part && !part->name.empty() ? " " + part->name : "");
}

void TargetCore::on(const ev::Reread& event, Actions& actions) {
    if (phase_ == Phase::kReplay) return on_replay_reread(event.equal, actions);
    if (phase_ != Phase::kReread) return;
    if (!event.equal) {
        // A later session would apply it again, and seal it without a look.
        if (committed_) {
            actions.push_back(
                act::Mark{.record = stage_lost(record_staging()), .keep_journal = false});
        }
        std::string text = "the target reads back something else than was written to it";
        if (event.wrong_at_bytes) text += ": " + place_of(*event.wrong_at_bytes);
        return fail_with({Code::kCorrupt, 0, std::move(text)}, actions);
    }
    phase_ = Phase::kSeal;
    actions.push_back(act::Seal{.record = record_sealed(), .reread = true, .moment = moment_});
}

void TargetCore::on(const ev::Sealed& event, Actions& actions) {
    if (phase_ == Phase::kReplay) {
        facts_.record = event.record;
        if (!facts_.is_device) facts_.size_bytes = event.record.volume_bytes;
        facts_.empty = false;
        facts_.has_data = true;
        return open_up(actions);
    }
    phase_ = Phase::kSealed;
}

void TargetCore::on(const ev::Tick&, Actions& actions) {
    try_checkpoint(actions);
    if (phase_ == Phase::kHello || now_ - pinged_at_ < limits_.ping_interval) return;
    pinged_at_ = now_;
    actions.push_back(act::Send{PingMessage{}});
}

void TargetCore::on_message(const ErrorMessage& error, Actions&) {
    // The source gave up: whatever is unfinished stays marked as such.
    static_cast<void>(error);
    phase_ = Phase::kFailed;
}

void TargetCore::on(const ev::Failed& event, Actions& actions) {
    const bool gone = event.error.code == Code::kDisconnected || event.error.code == Code::kTimeout;
    peer_gone_ |= gone;
    if (gone && committed()) return;
    fail_with(event.error, actions);
}

}  // namespace towline
