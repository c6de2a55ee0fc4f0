// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <string>

#include <nlohmann/json_fwd.hpp>

namespace towline {

// A named set of jobs, for what is asked of all of them together. It names only jobs that are
// there: one that is deleted leaves it, so that a later job of that name is not in it unasked.
struct JobGroup {
    std::string name;
    std::string description;
    std::set<std::string> jobs;

    bool operator==(const JobGroup&) const = default;
};

// What people are shown, and give. The form was held against the API's schema.
nlohmann::json json_of(const JobGroup& group);
JobGroup group_of(const nlohmann::json& value);

}  // namespace towline
