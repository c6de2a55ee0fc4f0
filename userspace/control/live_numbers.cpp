// SPDX-License-Identifier: Apache-2.0
// One place for the numbers of a run that goes on, so that nobody says another.

#include "userspace/control/live_numbers.hpp"

#include <nlohmann/json.hpp>

namespace towline {

using nlohmann::json;

namespace {

template <typename T>
json maybe(const std::optional<T>& value) {
    return value ? json(*value) : json(nullptr);
}

}  // namespace

std::optional<double> percent_of(const LiveRun& live) {
    if (live.total_bytes == 0) return std::nullopt;
    return 100 * static_cast<double>(live.done_bytes) / static_cast<double>(live.total_bytes);
}

std::optional<double> seconds_left(const LiveRun& live) {
    if (live.total_bytes == 0 || live.speed <= 1) return std::nullopt;
    const auto total = static_cast<double>(live.total_bytes);
    return (total - static_cast<double>(live.done_bytes)) / live.speed;
}

std::optional<bool> converges(const LiveRun& live) {
    if (!live.dirty || live.speed <= 0) return std::nullopt;
    return live.speed > *live.dirty;
}

std::optional<double> lag_seconds(const LiveRun& live, WallTime now) {
    if (!live.replica_of) return std::nullopt;
    return static_cast<double>((now - *live.replica_of).count()) / 1000;
}

json shown(const Run& run, const JobService& service) {
    json value = json_of(run);
    const auto live =
        run.state == RunState::kActive && !run.paused ? service.live(run.id) : std::nullopt;
    if (!live) return value;
    value["stage"] = name_of(live->stage);
    value["bytes_total"] = live->volume_bytes;
    value["bytes_done"] = live->done_bytes;
    value["bytes_sent"] = live->sent_bytes;
    value["bytes_durable"] = live->durable_bytes;
    if (live->stage == RunStage::kTransfer) value["bytes_changed"] = live->total_bytes;
    value["percent"] = maybe(percent_of(*live));
    value["speed_bytes_per_second"] = live->speed;
    value["wire_bytes_per_second"] = live->wire;
    value["dirty_bytes_per_second"] = maybe(live->dirty);
    value["seconds_left"] = maybe(seconds_left(*live));
    value["converges"] = maybe(converges(*live));
    value["lag_seconds"] = maybe(lag_seconds(*live, clocks_now().wall));
    return value;
}

}  // namespace towline
