// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "userspace/jobs/job_json.hpp"

namespace towline {

// Somebody whom the daemon tells of what happens: a receiver of signed requests, or a program of
// this host.
struct Notification {
    std::string name;
    std::vector<std::string> events;  // completed, failed, …; empty: all of these
    std::vector<std::string> jobs;    // names; empty: all
    std::string url;                  // this and the secret, or the program
    std::string secret;
    std::string program;

    bool operator==(const Notification&) const = default;
    // Whether an event of this type ("run.completed") and job is one to tell of.
    bool wants(std::string_view type, std::string_view job) const;
};

// What is stored, and what was given: with the secret.
nlohmann::json stored_form(const Notification& notification);
// What people are shown: without it.
nlohmann::json json_of(const Notification& notification);
// The form was held against the API's schema, or is what was stored.
std::expected<Notification, FieldError> notification_of(const nlohmann::json& value);

}  // namespace towline
