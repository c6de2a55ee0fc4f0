// SPDX-License-Identifier: Apache-2.0
// The words that people choose by, and the types of events that they stand for.

#include "userspace/jobs/notification.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <nlohmann/json.hpp>

namespace towline {

using nlohmann::json;

namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kWords{
    {{"run.completed", "completed"},
     {"job.completed", "completed"},
     {"run.failed", "failed"},
     {"job.failed", "failed"},
     {"job.paused", "paused"},
     {"job.paused-on-failure", "paused"},
     {"job.deleted", "deleted"},
     {"job.lagging", "lagging"},
     {"job.alarm", "alarm"}}};

std::string_view word_of(std::string_view type) {
    for (const auto& [each, word] : kWords)
        if (each == type) return word;
    return {};
}

template <typename T>
bool has(const std::vector<std::string>& list, const T& wanted) {
    return list.empty() || std::ranges::find(list, wanted) != list.end();
}

}  // namespace

bool Notification::wants(std::string_view type, std::string_view job) const {
    const std::string_view word = word_of(type);
    return !word.empty() && has(events, word) && has(jobs, job);
}

json stored_form(const Notification& notification) {
    json value{
        {"name", notification.name}, {"events", notification.events}, {"jobs", notification.jobs}};
    if (notification.program.empty())
        value["webhook"] = {{"url", notification.url}, {"secret", notification.secret}};
    else
        value["program"] = notification.program;
    return value;
}

json json_of(const Notification& notification) {
    json value = stored_form(notification);
    if (value.contains("webhook")) value["webhook"].erase("secret");
    return value;
}

std::expected<Notification, FieldError> notification_of(const json& value) {
    Notification made;
    made.name = value.value("name", "");
    made.events = value.value("events", std::vector<std::string>());
    made.jobs = value.value("jobs", std::vector<std::string>());
    made.program = value.value("program", "");
    const auto webhook = value.find("webhook");
    if ((webhook != value.end()) == !made.program.empty())
        return std::unexpected(FieldError{"webhook", "give a webhook or a program, one of both"});
    if (webhook == value.end()) {
        if (made.program.starts_with('/')) return made;
        return std::unexpected(FieldError{"program", "is no absolute path"});
    }
    made.url = webhook->value("url", "");
    made.secret = webhook->value("secret", "");
    if (!made.url.starts_with("http://") && !made.url.starts_with("https://"))
        return std::unexpected(FieldError{"webhook.url", "begins with https:// or http://"});
    return made;
}

}  // namespace towline
