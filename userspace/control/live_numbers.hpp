// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "userspace/control/job_service.hpp"

namespace towline {

// A run as the API shows it: one that goes on with its progress and what follows from it. The same
// in lists, in events, and, by the same numbers, in metrics.
nlohmann::json shown(const Run& run, const JobService& service);

// What follows from the numbers of a run that goes on; nothing: not known.
std::optional<double> percent_of(const LiveRun& live);
std::optional<double> seconds_left(const LiveRun& live);
// More is brought than is written meanwhile.
std::optional<bool> converges(const LiveRun& live);
// How old the replica is that the run is to renew.
std::optional<double> lag_seconds(const LiveRun& live, WallTime now);

}  // namespace towline
