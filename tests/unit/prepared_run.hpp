// SPDX-License-Identifier: Apache-2.0
#pragma once

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

}  // namespace towline::testing
