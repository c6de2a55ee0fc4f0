// SPDX-License-Identifier: Apache-2.0
#pragma once

// Jobs and runs as JSON: what the API says and the store keeps. Times are ISO 8601, what is not
// known is null, numbers of bytes are whole.

#include <nlohmann/json_fwd.hpp>

#include "io/result.hpp"
#include "userspace/jobs/job.hpp"

namespace towline {

// What is wrong with what somebody gave, and where.
struct FieldError {
    std::string field;  // "schedule.every"
    std::string message;
};

nlohmann::json json_of(const JobSpec& spec);
// The form was held against the API's schema before; here it is what a schema cannot say: spans,
// calendars, addresses.
// NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): `json` is the type there
std::expected<JobSpec, FieldError> spec_of(const nlohmann::json& json);

nlohmann::json json_of(const Run& run);
// NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): as above
Result<Run> run_of(const nlohmann::json& json);

// With what only the daemon knows of it.
nlohmann::json stored_form(const Job& job);
Result<Job> job_of(const nlohmann::json& stored);

// A time or null.
nlohmann::json json_of(const std::optional<WallTime>& time);

}  // namespace towline
