// SPDX-License-Identifier: Apache-2.0
// What a session does before it opens up to its source (TargetCore's replay), for hands and for a
// server that starts. The order is the same: applied, flushed, fitted, read back where the run
// asked for it, sealed.

#include "userspace/engine/target_finish.hpp"

#include "userspace/engine/staged_apply.hpp"
#include "userspace/engine/staged_reread.hpp"

namespace towline {

namespace {

Status apply(IoEngine& engine, const TargetVolume& volume, const StagedRun& stage,
             const Uuid& source) {
    std::optional<Error> failed;
    bool ended = false;
    StagedApply applying(engine, volume, stage, source,
                         [&](StagedApply::End, std::optional<Error> error) {
                             failed = std::move(error);
                             ended = true;
                         });
    applying.start();
    while (!ended || !applying.idle())
        TRY_STATUS(engine.run_once());
    if (failed) return std::unexpected(*failed);
    return {};
}

// Applied once more it would read back no better: the record says so before anybody is told.
Status reread(IoEngine& engine, TargetStore& store, const TargetVolume& volume,
              const TargetRecord& record, const StagedRun& stage) {
    auto ended = StagedReread::End::kStopped;
    std::optional<Error> wrong;
    bool done = false;
    StagedReread reading(engine, volume, record.volume_bytes, stage,
                         [&](StagedReread::End end, std::optional<Error> error) {
                             ended = end;
                             wrong = std::move(error);
                             done = true;
                         });
    reading.start();
    while (!done || !reading.idle())
        TRY_STATUS(engine.run_once());
    if (!wrong) return {};
    if (ended == StagedReread::End::kDiffers) {
        wrong->context += "; a run from its source brings it anew";
        TRY_STATUS(store.mark(stage_lost(record), false));
    }
    return std::unexpected(*wrong);
}

}  // namespace

Result<bool> finish_target(TargetStore& store, const std::string& name, EngineKind kind) {
    TargetFacts facts = TRY(store.look(name, Uuid{}, false));
    const TargetRecord& record = facts.record;
    if (!facts.exists) return fail(Code::kInvalid, "there is no target " + name);
    if (record.stage != TargetRecord::Stage::kCommitted) {
        if (record.state == TargetState::kSealed || record.stage == TargetRecord::Stage::kStaging)
            return false;
        return fail(Code::kRefused,
                    record.state == TargetState::kUnclaimed
                        ? "the target " + name + " is no replica that Towline keeps here"
                        : "the target " + name +
                              " is between two moments: a run that went onto it directly was cut "
                              "off; only a run from its source makes it whole");
    }
    const auto engine = TRY(make_engine(kind));
    const TargetVolume volume = TRY(store.prepare(*engine, record.volume_bytes, false));
    TRY_STATUS(store.mark(record, true));
    const StagedRun stage = TRY(store.open_stage(*engine, {.run = record.run}));
    TRY_STATUS(apply(*engine, volume, stage, record.run_base.source));
    TRY_STATUS(store.fit_size());
    if (record.verify) TRY_STATUS(reread(*engine, store, volume, record, stage));
    TRY_STATUS(store.seal(sealed_from(record), {.digest = {}, .reread = record.verify}));
    for (const Handle handle : {stage.blocks.view.handle, volume.view.handle, volume.lock})
        engine->detach(handle);
    return true;
}

}  // namespace towline
