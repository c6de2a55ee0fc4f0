// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "userspace/jobs/job_json.hpp"

namespace towline {

// A named preset: what a job is made with where its own order is silent. A job keeps the name of
// the one that it was made from, and nothing else of it: an edit here moves no job.
struct JobTemplate {
    std::string name;
    std::string description;
    nlohmann::json options = nlohmann::json::object();  // fields of a job, without its two sides

    bool operator==(const JobTemplate&) const = default;
    // An order with the options that it does not give itself.
    nlohmann::json complete(const nlohmann::json& order) const;
};

// What is stored, and what people are shown.
nlohmann::json json_of(const JobTemplate& preset);
// The form was held against the API's schema, or is what was stored.
std::expected<JobTemplate, FieldError> template_of(const nlohmann::json& value);

}  // namespace towline
