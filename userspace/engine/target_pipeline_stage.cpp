// SPDX-License-Identifier: Apache-2.0
// The pipeline of a run that is staged (docs/format-staged.md): where its blocks go, and how they
// come onto the volume once all of them are there. The same for what an earlier session left.

#include "userspace/engine/staged_format.hpp"
#include "userspace/engine/target_pipeline.hpp"

namespace towline {

namespace act = target_action;
namespace ev = target_event;

namespace {

// Blocks that the index speaks of are gone. The last one may end within its place.
bool is_cut_off(const StagedRun& run) {
    return run.blocks.view.size_bytes + staged_format::kPlaceBytes <= run.index->places_end_bytes();
}

}  // namespace

Status TargetPipeline::open_stage(const act::Begin& action) {
    const BeginMessage& begin = action.begin;
    TargetStore::StageWish wish{
        .run = begin.run, .anew = !begin.resume, .plan_bytes = begin.plan_bytes};
    // Sealed may be what is read, and committed what a power cut leaves: without the files it would
    // be a volume that nobody knows to be whole.
    if (wish.anew && core_.facts().staged_left) TRY_STATUS(store_.confirm(core_.facts().record));
    auto stage = store_.open_stage(engine_, wish);
    // Of a run that is resumed nothing may be there any more: then nothing was acknowledged.
    bool gone = !stage && stage.error().code == Code::kCorrupt;
    if (stage && begin.resume && is_cut_off(*stage)) {
        engine_.detach(stage->blocks.view.handle);
        gone = true;
    }
    if (gone && begin.resume) {
        wish.anew = true;
        stage = store_.open_stage(engine_, wish);
    }
    if (!stage) return std::unexpected(stage.error());
    stage_ = std::move(*stage);
    auto sink = TRY(StagedSink::open(engine_, volume_, *stage_, begin.block_bytes, begin.resume));
    staging_ = sink.get();
    sink_ = std::move(sink);
    return {};
}

void TargetPipeline::perform(act::Commit& action) {
    committing_ = action;
    workers_.submit(commit_);
}

void TargetPipeline::perform(act::Replay& action) {
    const TargetRecord& record = action.record;
    auto volume = store_.prepare(engine_, record.volume_bytes, false);
    if (!volume) return step(ev::Failed{volume.error()});
    volume_ = *volume;
    // It may be one whose sync failed, and be on no disk: from here on the volume is between two
    // moments, and nothing else must say that it is whole.
    const Status marked = store_.mark(record, true);
    if (!marked) return step(ev::Failed{marked.error()});
    auto stage = store_.open_stage(engine_, {.run = record.run});
    if (!stage && stage.error().code == Code::kCorrupt)
        return on_applied(StagedApply::End::kLost, stage.error());
    if (!stage) return step(ev::Failed{stage.error()});
    stage_ = std::move(*stage);
    start_apply(record.run_base.source);
}

void TargetPipeline::perform(act::Apply&) {
    start_apply(core_.begin().next_base.source);
}

void TargetPipeline::start_apply(const Uuid& source) {
    apply_ =
        std::make_unique<StagedApply>(engine_, volume_, *stage_, source,
                                      [this](StagedApply::End end, std::optional<Error> error) {
                                          on_applied(end, std::move(error));
                                      });
    apply_->start();
}

void TargetPipeline::on_applied(StagedApply::End end, std::optional<Error> error) {
    if (stopped_) return;
    switch (end) {
        case StagedApply::End::kDone:
            return step(ev::Applied{});
        case StagedApply::End::kLost:
            return step(ev::StageLost{std::move(*error)});
        case StagedApply::End::kFailed:
            return step(ev::Failed{std::move(*error)});
        case StagedApply::End::kStopped:
            return;
    }
}

// By the journal that it was applied from: there is no writer of this session that would know.
void TargetPipeline::perform(act::RereadStaged&) {
    replay_reread_ =
        std::make_unique<StagedReread>(engine_, volume_, core_.facts().record.volume_bytes, *stage_,
                                       [this](StagedReread::End end, std::optional<Error> error) {
                                           on_replay_reread(end, std::move(error));
                                       });
    replay_reread_->start();
}

void TargetPipeline::on_replay_reread(StagedReread::End end, std::optional<Error> error) {
    if (stopped_) return;
    switch (end) {
        case StagedReread::End::kEqual:
            return step(ev::Reread{.equal = true});
        case StagedReread::End::kDiffers:
            return step(ev::Reread{.equal = false});
        case StagedReread::End::kFailed:
            return step(ev::Failed{std::move(*error)});
        case StagedReread::End::kStopped:
            return;
    }
}

}  // namespace towline
