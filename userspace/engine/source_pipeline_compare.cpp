// SPDX-License-Identifier: Apache-2.0
// The source's part of a comparison: of everything, of what a resumed run has acknowledged, or of
// named blocks (what a tracker only suspects, and an audit's sample). Both sides' digests are
// merged as they come, with bounded waiting: whichever side is ahead is held.

#include "io/check.hpp"
#include "userspace/engine/audit_sample.hpp"
#include "userspace/engine/source_pipeline.hpp"

namespace towline {

namespace act = source_action;
namespace ev = source_event;

namespace {

constexpr std::size_t kQueuedBytesMax = 1 << 20;
// Hashes of one side that wait for the other: 256 Ki blocks, 4 MiB.
constexpr std::size_t kHashesWaitingMax = std::size_t{256} * 1024;

}  // namespace

void SourcePipeline::perform(act::Acknowledged& action) {
    for (const RangesMessage::Range& range : action.ranges.ranges) {
        const std::uint64_t volume_bytes = wanted_.volume_bytes();
        if (range.offset_bytes > volume_bytes ||
            range.length_bytes > volume_bytes - range.offset_bytes) {
            return step(ev::Failed{
                {Code::kProtocol, 0, "the target acknowledges what the volume does not have"}});
        }
        wanted_.mark({range.offset_bytes, range.length_bytes});
    }
}

void SourcePipeline::perform(act::TellListed&) {
    std::vector<Extent> extents;
    for (auto run = wanted_.next_run(0); run; run = wanted_.next_run(run->end()))
        extents.push_back(wanted_.extent_of(*run));
    listed_.start(std::move(extents));
    tell_listed();
}

void SourcePipeline::tell_listed() {
    listed_.tell(talk(), kQueuedBytesMax);
}

void SourcePipeline::perform(act::StartCompare&) {
    differing_ = ChangeMap(wanted_.volume_bytes(), wanted_.block_bytes());
    compare_.emplace(differing_);
    ours_ = std::make_unique<RangeHasher>(
        engine_, pool_, config_.volume, *hasher_, wanted_, config_.data,
        [this](const RangeHasher::Piece& piece) { on_our_hashes(piece); },
        [this](Status status) { on_our_hashes_done(std::move(status)); });
    ours_->start();
}

void SourcePipeline::on_our_hashes(const RangeHasher::Piece& piece) {
    if (stopped_) return;
    CHECK(compare_->ours(piece.run, piece.hashes));
    balance_compare();
}

void SourcePipeline::on_our_hashes_done(Status status) {
    if (stopped_) return;
    if (!status) return step(ev::Failed{status.error()});
    ours_done_ = true;
    after_compare();
}

void SourcePipeline::perform(act::Theirs& action) {
    const DigestsMessage& message = action.digests;
    if (message.last) {
        theirs_done_ = true;
        compare_->theirs_ended();
        return after_compare();
    }
    const std::uint64_t count = message.hashes.empty() ? message.zero_count : message.hashes.size();
    if (theirs_done_ ||
        !compare_->theirs({.first = message.first_block, .count = count}, message.hashes)) {
        return step(ev::Failed{
            {Code::kProtocol, 0, "the target's digests are not those that were asked for"}});
    }
    add_compared(*digester_, message,
                 wanted_.extent_of({.first = message.first_block, .count = count}));
    balance_compare();
}

// Whoever is ahead waits.
void SourcePipeline::balance_compare() {
    talk().hold(compare_->theirs_waiting() > kHashesWaitingMax && !ours_done_);
    const bool hold_ours = compare_->ours_waiting() > kHashesWaitingMax && !theirs_done_;
    if (ours_ && !ours_done_) ours_->hold(hold_ours);
}

void SourcePipeline::after_compare() {
    if (ours_done_) talk().hold(false);
    if (theirs_done_ && !ours_done_) ours_->hold(false);
    if (!ours_done_ || !theirs_done_ || !core_.comparing()) return;
    const Status settled = settle_plan();
    if (!settled) return step(ev::Failed{settled.error()});
    step(ev::Compared{});
}

// From what differs to what is sent.
Status SourcePipeline::settle_plan() {
    report_.bytes_read += ours_->read_bytes();
    if (run_.begin.compare_listed) return settle_listed();
    if (run_.decision.mode == RunMode::kScan) {
        TRY_STATUS(settle_scan());
    } else {
        run_.plan.subtract(wanted_);
        run_.plan.merge(differing_);
    }
    if (config_.request.dry_run) return {};
    return note_plan(run_, store_);
}

Status SourcePipeline::settle_scan() {
    const bool resembles = compare_->their_lost_blocks() * 2 <= compare_->their_data_blocks();
    if (run_.decision.must_resemble && !resembles) {
        return fail(Code::kRefused,
                    "the target holds data that is no older copy of this source (" +
                        std::to_string(compare_->their_lost_blocks()) + " of its " +
                        std::to_string(compare_->their_data_blocks()) +
                        " blocks with data differ); if it may be replaced say --overwrite");
    }
    run_.plan = std::move(differing_);
    run_.changed_bytes = report_.bytes_changed = run_.plan.marked_bytes();
    return {};
}

// What the tracker only suspects is sent where it differs; it stays pending as a whole until the
// target has sealed.
Status SourcePipeline::settle_listed() {
    TRY_STATUS(judge_audit());
    if (!run_.decision.compare_listed) return {};
    run_.plan = common(run_.plan, differing_);
    run_.changed_bytes = report_.bytes_changed = run_.plan.marked_bytes();
    return {};
}

Status SourcePipeline::judge_audit() {
    if (run_.audit.empty()) return {};
    const ChangeMap wrong = common(run_.audit, differing_);
    if (wrong.empty()) return {};
    // Written to after its epoch, as far as can be told: the next run brings it, unasked.
    if (config_.moment != nullptr && !config_.moment->steady()) {
        report_.audited_blocks = 0;
        return note_known(run_, store_,
                          [](TargetMemory& memory) { memory.open_audit = memory.audit; });
    }
    config_.on_alarm();
    // What needs no lock first: whatever becomes of the rest, this target is compared.
    TRY_STATUS(distrust_plan(run_, store_));
    const auto distrust = [this] { return distrust_harvests(run_, store_); };
    const Status told =
        config_.moment != nullptr ? config_.moment->with_harvests(distrust) : distrust();
    const std::uint64_t first = wrong.extent_of(*wrong.next_run(0)).offset_bytes;
    return fail(Code::kCorrupt,
                std::to_string(wrong.marked_blocks()) + " of " +
                    std::to_string(run_.audit.marked_blocks()) +
                    " blocks that the tracker held to be unchanged differ at the target (the "
                    "first at byte " +
                    std::to_string(first) +
                    "): the tracker missed writes, or the target was changed; nothing was sent, "
                    "and the next run compares everything" +
                    (told ? std::string()
                          : "; for other targets of this source that could not be noted (" +
                                told.error().text() + "): run them with --scan"));
}

}  // namespace towline
