// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "userspace/engine/sync.hpp"

namespace towline {

// A run of several rounds, each by `run_round`: live ones, then one of a source that stands still.
// Its report is that of the last, with the sums of all, and with the first one's mode and cause.
Result<RunReport> run_in_rounds(
    const SyncOptions& options,
    const std::function<Result<RunReport>(const SyncOptions&)>& run_round);

}  // namespace towline
