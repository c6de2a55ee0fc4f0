// SPDX-License-Identifier: Apache-2.0
// A set: the order in which jobs were named says nothing, and a job is in it once.

#include "userspace/jobs/job_group.hpp"

#include <nlohmann/json.hpp>

namespace towline {

using nlohmann::json;

json json_of(const JobGroup& group) {
    return {{"name", group.name}, {"description", group.description}, {"jobs", group.jobs}};
}

JobGroup group_of(const json& value) {
    return {.name = value.value("name", ""),
            .description = value.value("description", ""),
            .jobs = value.value("jobs", std::set<std::string>())};
}

}  // namespace towline
