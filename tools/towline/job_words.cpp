// SPDX-License-Identifier: Apache-2.0
// The options of jobs, one to one the fields of the API: what is wrong with them the daemon says.

#include "tools/towline/job_words.hpp"

namespace towline {

using nlohmann::json;

namespace {

void add_schedule(CLI::App& command, JobWords& words) {
    auto* every = command.add_option("--every", words.every, "an interval: 30s to 90d");
    auto* calendar = command.add_option("--calendar", words.calendar,
                                        "a systemd.time expression: \"Mon..Fri 02:30\"");
    auto* lag = command.add_option("--continuous", words.lag,
                                   "run after run, to stay this close behind: 5s");
    auto* once = command.add_option("--once", words.once, "one time only, then");
    auto* manual = command.add_flag("--manual", words.manual, "on demand only");
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

void add_job_options(CLI::App& command, JobWords& words) {
    add_schedule(command, words);
    command.add_option("--description", words.description, "what it is for");
    command.add_option("--tag", words.tags, "may be given up to 20 times");
    command.add_option("--rate", words.rate_mbit, "limit on the wire in Mbit/s; 0 is none");
    command.add_option("--compress", words.compress, "auto, or 0 (none) to 10 (densest)");
    command.add_flag("--verify,!--no-verify", words.verify,
                     "the target reads back what it wrote before it attests");
    add_moment_options(command, words.moment);
    command.add_flag("--direct,!--no-direct", words.direct,
                     "write onto a replica at once: cut off, it is of no moment");
    command.add_option("--journal", words.journal,
                       "the folder where a replica on the daemon's host has its runs staged");
    command.add_option("--audit-days", words.audit_days,
                       "days in which all that is held to be unchanged is compared once (30); 0: "
                       "it is not");
    command.add_flag("--ignore-critical,!--no-ignore-critical", words.ignore_critical,
                     "run, whatever the preflight before the first run finds");
    command.add_option("--lag-max", words.lag_max,
                       "tell of a replica that is older than this; none: of none");
    command.add_option("--failures-max", words.failures_max,
                       "failures in a row until the job waits for a person (3)");
    command.add_option("--on-demand-per-day", words.on_demand_per_day,
                       "runs on demand in 24 h; 0 is no limit");
}

void add_start_option(CLI::App& command, JobWords& words) {
    command.add_option(
        "--start", words.start,
        "the first run: schedule (default), now, manual, test-only, test-then-start, "
        "or a time");
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
