// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "tools/towline/api_command.hpp"
#include "tools/towline/moment_words.hpp"

namespace towline {

// How and when a job runs, in the words of the command line: of a job, or of a template for jobs.
struct JobWords : ApiWords {
    std::string name;
    std::string description;
    std::vector<std::string> tags;
    std::string every, calendar, lag, once;
    bool manual = false;
    std::string start;
    std::string compress;
    double rate_mbit = 0;
    bool verify = false;
    MomentWords moment;
    double audit_days = 0;
    bool direct = false;
    std::string journal;
    std::string lag_max;
    bool ignore_critical = false;
    unsigned failures_max = 0;
    unsigned on_demand_per_day = 0;
};

// What they mean is what the operation of the API says of its fields.
void add_job_options(CLI::App& command, JobWords& words, std::string_view operation);
void add_start_option(CLI::App& command, JobWords& words);

// Only what was said: where nothing is, nothing is to change, or the template's counts.
nlohmann::json job_options(const JobWords& words, const CLI::App& command);

}  // namespace towline
