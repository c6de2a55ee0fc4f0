// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tests/unit/memory_stores.hpp"
#include "userspace/engine/run_preparation.hpp"

namespace towline::testing {

// A run that is planned, and noted unless it is a dry one: as it is when the target hears of it.
inline Result<PreparedRun> prepare_run(const SourceRequest& request, SourceStore& store,
                                       const OpenedMessage& opened) {
    auto run = plan_run(request, store, opened);
    if (!run || request.dry_run) return run;
    TRY_STATUS(note_run(*run, store));
    return run;
}

// A volume of 50 blocks of which the third is changed, and a target that has its moment.
struct PreparedRunCase {
    static constexpr std::uint32_t kBlock = 4096;
    static constexpr std::uint64_t kVolume = 50 * kBlock;
    static inline const Uuid kTarget = uuid_of(7);
    static inline const Base kBase{.source = uuid_of(1), .sequence = 4, .point = uuid_of(2)};

    PreparedRunCase() {
        request.run = {
            .kind = RunRequest::Kind::kExtents, .source = uuid_of(1), .volume_bytes = kVolume};
        request.block_bytes = kBlock;
        request.draw = [this] { return uuid_of(drawn++); };
        request.extents = {{3 * kBlock, kBlock}};
        opened = {.exists = true,
                  .target = kTarget,
                  .size_bytes = kVolume,
                  .state = TargetState::kSealed,
                  .base = kBase,
                  .owner = uuid_of(1)};
    }
    void next_changes(std::uint64_t block) { request.extents = {{block * kBlock, 1}}; }
    // The target has begun the run, and is cut off.
    void cut_off(const PreparedRun& run) {
        opened.state = TargetState::kApplying;
        opened.run = run.begin.run;
        opened.run_mode = run.begin.mode;
        opened.plan_digest = run.begin.plan_digest;
        opened.run_base = run.begin.next_base;
    }
    void seal(const PreparedRun& run) {
        cut_off(run);
        opened.state = TargetState::kSealed;
        opened.base = run.begin.next_base;
    }

    SourceRequest request;
    OpenedMessage opened;
    int drawn = 20;
};

}  // namespace towline::testing
