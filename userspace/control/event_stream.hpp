// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "userspace/control/http.hpp"
#include "userspace/control/job_service.hpp"

namespace towline {

nlohmann::json json_of(const JobEventRecord& event);

struct EventWish {
    std::optional<std::uint64_t> since;
    bool follow = false;
    bool progress = false;  // of the runs that go on, a line each second: {"progress": run}
};

// Events as lines of JSON, from `since` on. Where events after `since` are gone already, the first
// line says which: {"gap": {"first": …, "last": …}}. With `follow` it goes on until the reader
// leaves or the daemon stops; an empty line every so often shows a reader that both are still
// there.
HttpStream event_stream(JobService& service, const EventWish& wish);

}  // namespace towline
