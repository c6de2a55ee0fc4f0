// SPDX-License-Identifier: Apache-2.0
// The options of jobs, one to one the fields of the API: what is wrong with them the daemon says.

#include "tools/towline/job_words.hpp"

#include "tools/towline/api_help.hpp"

namespace towline {

using nlohmann::json;

namespace {

void add_schedule(CLI::App& command, JobWords& words) {
    auto* every = command.add_option("--every", words.every)->type_name("SPAN");
    auto* calendar = command.add_option("--calendar", words.calendar)->type_name("EXPRESSION");
    auto* lag = command.add_option("--continuous", words.lag)->type_name("LAG");
    auto* once = command.add_option("--once", words.once)->type_name("TIME");
    auto* manual = command.add_flag("--manual", words.manual);
    const std::vector<CLI::Option*> all{every, calendar, lag, once, manual};
    for (CLI::Option* one : all)
        for (CLI::Option* other : all)
            if (one != other) one->excludes(other);
}

void put_schedule(const JobWords& words, json& body) {
    if (!words.every.empty()) body["schedule"] = {{"every", words.every}};
    if (!words.calendar.empty()) body["schedule"] = {{"calendar", words.calendar}};
    if (!words.lag.empty()) body["schedule"] = {{"continuous", {{"lag", words.lag}}}};
    if (!words.once.empty()) body["schedule"] = {{"once", words.once}};
    if (words.manual) body["schedule"] = {{"manual", true}};
}

}  // namespace

void add_job_options(CLI::App& command, JobWords& words, std::string_view operation) {
    add_schedule(command, words);
    command.add_option("--description", words.description)->type_name("TEXT");
    command.add_option("--tag", words.tags)->type_name("TAG");
    command.add_option("--rate", words.rate_mbit)->type_name("MBIT");
    command.add_option("--compress", words.compress)->type_name("LEVEL");
    command.add_flag("--verify,!--no-verify", words.verify);
    add_moment_options(command, words.moment);
    command.add_flag("--direct,!--no-direct", words.direct);
    command.add_option("--journal", words.journal)->type_name("DIR");
    command.add_option("--audit-days", words.audit_days)->type_name("DAYS");
    command.add_flag("--ignore-critical,!--no-ignore-critical", words.ignore_critical);
    command.add_option("--lag-max", words.lag_max)->type_name("SPAN");
    command.add_option("--failures-max", words.failures_max)->type_name("N");
    command.add_option("--on-demand-per-day", words.on_demand_per_day)->type_name("N");
    describe_by_api(command, operation,
                    {{"--every", "schedule/every"},
                     {"--calendar", "schedule/calendar"},
                     {"--continuous", "schedule/continuous/lag"},
                     {"--once", "schedule/once"},
                     {"--manual", "schedule/manual"},
                     {"--description", "description"},
                     {"--tag", "tags"},
                     {"--rate", "rate_mbit"},
                     {"--compress", "compression"},
                     {"--verify", "verify"},
                     {"--tracker", "tracker"},
                     {"--snapshot", "snapshot"},
                     {"--store", "snapshot_store_bytes"},
                     {"--freeze", "freeze"},
                     {"--direct", "direct"},
                     {"--journal", "journal"},
                     {"--audit-days", "audit_days"},
                     {"--ignore-critical", "ignore_critical"},
                     {"--lag-max", "lag_max"},
                     {"--failures-max", "failures_max"},
                     {"--on-demand-per-day", "on_demand_per_day"}});
}

void add_start_option(CLI::App& command, JobWords& words) {
    command.add_option("--start", words.start)->type_name("WHEN");
    describe_by_api(command, "put_job", {{"--start", "start"}});
}

json job_options(const JobWords& words, const CLI::App& command) {
    const auto given = [&](const char* option) { return command.count(option) > 0; };
    json body = json::object();
    put_schedule(words, body);
    if (!words.start.empty()) body["start"] = words.start;
    if (given("--description")) body["description"] = words.description;
    if (given("--tag")) body["tags"] = words.tags;
    if (given("--rate")) body["rate_mbit"] = words.rate_mbit;
    if (given("--verify")) body["verify"] = words.verify;
    if (given("--tracker")) body["tracker"] = words.moment.tracker;
    if (given("--snapshot")) body["snapshot"] = words.moment.snapshot;
    if (given("--store")) body["snapshot_store_bytes"] = words.moment.store_bytes();
    if (given("--freeze")) body["freeze"] = words.moment.freeze;
    if (given("--audit-days")) body["audit_days"] = words.audit_days;
    if (given("--direct")) body["direct"] = words.direct;
    if (given("--journal")) body["journal"] = words.journal;
    if (given("--ignore-critical")) body["ignore_critical"] = words.ignore_critical;
    if (given("--lag-max"))
        body["lag_max"] = words.lag_max == "none" ? json(nullptr) : json(words.lag_max);
    if (given("--failures-max")) body["failures_max"] = words.failures_max;
    if (given("--on-demand-per-day")) body["on_demand_per_day"] = words.on_demand_per_day;
    if (given("--compress")) {
        const json level = json::parse(words.compress, nullptr, false);
        body["compression"] = level.is_number_integer() ? level : json(words.compress);
    }
    return body;
}

}  // namespace towline
