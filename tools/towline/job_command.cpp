// SPDX-License-Identifier: Apache-2.0
// `towline job …`: the words of the command line become the fields of the API, one to one; what is
// wrong with them the daemon says.

#include <cstdio>

#include "tools/towline/api_command.hpp"
#include "tools/towline/api_help.hpp"
#include "tools/towline/commands.hpp"
#include "tools/towline/exit_codes.hpp"
#include "tools/towline/job_commands.hpp"
#include "tools/towline/job_words.hpp"
#include "tools/towline/progress_bar.hpp"

namespace towline {

using nlohmann::json;

namespace {

struct JobOrder : JobWords {
    std::vector<std::string> volumes;
    std::string target;
    std::string preset;
    std::string next_run;
    bool overwrite = false;
    bool dry_run = false;
    // list
    std::string state, tag, part, group;

    std::string path(const std::string& verb = "") const {
        return "/v1/jobs/" + percent_encoded(name) + verb + (dry_run ? "?dry_run=true" : "");
    }
};

using Words = std::shared_ptr<JobOrder>;

void show_change(const json& body) {
    const json& job = body.at("job");
    std::printf("job %s: %s%s, %s\n", field_text(job, "name").c_str(),
                body.at("changed").get<bool>() ? "changed" : "not changed",
                body.at("dry_run").get<bool>() ? " (dry run)" : "",
                field_text(job, "state").c_str());
}

void show_job(const json& job) {
    static constexpr std::array kFields{"name",       "description",
                                        "tags",       "state",
                                        "volumes",    "target",
                                        "template",   "schedule",
                                        "start",      "next_run_at",
                                        "active_run", "lag_seconds",
                                        "replica_of", "point",
                                        "failures",   "failures_max",
                                        "rate_mbit",  "compression",
                                        "verify",     "tracker",
                                        "snapshot",   "snapshot_store_bytes",
                                        "freeze",     "ignore_critical",
                                        "lag_max",    "lagging",
                                        "overwrite",  "on_demand_per_day",
                                        "created_at", "changed_at",
                                        "revision",   "audit_days",
                                        "direct",     "journal"};
    for (const char* field : kFields)
        std::printf("%-18s %s\n", field, field_text(job, field).c_str());
}

// Exit 3 where something would stop a run.
int preflight(const JobOrder& words) {
    const auto answer = words.client().call("POST", words.path("/preflight"));
    const int code = finish(words, answer, [](const json& body) {
        for (const json& each : body.at("findings"))
            std::printf("%-9s %-17s %s\n", field_text(each, "severity").c_str(),
                        field_text(each, "code").c_str(), field_text(each, "message").c_str());
        std::printf("the first run takes about %s, the next about %s\n",
                    time_left(body.at("first_seconds")).c_str(),
                    time_left(body.at("next_seconds")).c_str());
    });
    const bool stops = code == 0 && answer->body.at("stops").get<bool>();
    return stops ? static_cast<int>(Exit::kRefused) : code;
}

int points(const JobOrder& words) {
    const auto all = words.client().all(words.path("/points"), "points");
    return finish(words, all, [](const json& body) {
        TextTable table({"POINT", "CREATED", "LABEL", "MODE", "CHANGED", "STORED"});
        for (const json& each : body.at("points")) {
            double changed = 0, stored = 0;
            for (const json& volume : each.at("volumes")) {
                changed += volume.at("changed_bytes").get<double>();
                stored += volume.at("stored_bytes").get<double>();
            }
            table.add({field_text(each, "id"), field_text(each, "created_at"),
                       field_text(each, "label"), field_text(each, "mode"), human_bytes(changed),
                       human_bytes(stored)});
        }
        std::printf("%s", table.text().c_str());
    });
}

int list(const JobOrder& words) {
    std::string query;
    for (const auto& [key, value] : {std::pair{"state", words.state},
                                     {"tag", words.tag},
                                     {"group", words.group},
                                     {"name", words.part}})
        if (!value.empty())
            query += (query.empty() ? "?" : "&") + std::string(key) + "=" + percent_encoded(value);
    return finish(words, words.client().all("/v1/jobs" + query, "jobs"),
                  [](const json& body) { std::printf("%s", jobs_table(body.at("jobs")).c_str()); });
}

CLI::App* add(CLI::App& parent, const Words& words, const char* name, const char* help) {
    CLI::App* command = parent.add_subcommand(name, help);
    add_api_options(*command, *words);
    return command;
}

CLI::App* add_named(CLI::App& parent, const Words& words, const char* name, const char* help) {
    CLI::App* command = add(parent, words, name, help);
    command->add_option("NAME", words->name, "the job")->required();
    return command;
}

void add_create(CLI::App& parent, std::function<int()>& run) {
    auto words = std::make_shared<JobOrder>();
    CLI::App* command =
        add_named(parent, words, "create", "Creates the job, or makes it exactly this.");
    command->add_option("--volume", words->volumes)->type_name("PATH")->required();
    command->add_option("--target", words->target)->type_name("TARGET")->required();
    command->add_option("--template", words->preset)->type_name("NAME");
    add_start_option(*command, *words);
    add_job_options(*command, *words, "put_job");
    command->add_flag("--overwrite", words->overwrite);
    command->add_flag("--dry-run", words->dry_run);
    describe_by_api(*command, "put_job",
                    {{"--volume", "volumes"},
                     {"--target", "target"},
                     {"--template", "template"},
                     {"--overwrite", "overwrite"},
                     {"--dry-run", "dry_run"}});
    command->callback([words, command, &run] {
        run = [words, command] {
            json body = job_options(*words, *command);
            body["volumes"] = words->volumes;
            body["target"] = words->target;
            if (!words->preset.empty()) body["template"] = words->preset;
            if (words->overwrite) body["overwrite"] = true;
            return finish(*words, words->client().call("PUT", words->path(), body), show_change);
        };
    });
}

void add_edit(CLI::App& parent, std::function<int()>& run) {
    auto words = std::make_shared<JobOrder>();
    CLI::App* command = add_named(parent, words, "edit",
                                  "Changes what is given; a run that goes on follows at once.");
    add_job_options(*command, *words, "patch_job");
    command->add_option("--next-run", words->next_run)->type_name("TIME");
    command->add_flag("--dry-run", words->dry_run);
    describe_by_api(*command, "patch_job",
                    {{"--next-run", "next_run_at"}, {"--dry-run", "dry_run"}});
    command->callback([words, command, &run] {
        run = [words, command] {
            json body = job_options(*words, *command);
            if (!words->next_run.empty()) body["next_run_at"] = words->next_run;
            return finish(*words, words->client().call("PATCH", words->path(), body), show_change);
        };
    });
}

void add_verb(CLI::App& parent, std::function<int()>& run, const char* name, const char* help) {
    auto words = std::make_shared<JobOrder>();
    CLI::App* command = add_named(parent, words, name, help);
    const std::string verb = name;
    command->callback([words, verb, &run] {
        run = [words, verb] {
            return finish(*words, words->client().call("POST", words->path("/" + verb)),
                          show_change);
        };
    });
}

}  // namespace

std::string jobs_table(const json& jobs) {
    TextTable table({"NAME", "STATE", "SCHEDULE", "NEXT RUN", "LAG", "RUN", "TARGET"});
    for (const json& job : jobs)
        table.add({field_text(job, "name"), field_text(job, "state"),
                   schedule_text(job.at("schedule")), field_text(job, "next_run_at"),
                   time_left(job.at("lag_seconds")), field_text(job, "active_run"),
                   field_text(job, "target")});
    return table.text();
}

std::string schedule_text(const json& schedule) {
    if (schedule.contains("every")) return "every " + field_text(schedule, "every");
    if (schedule.contains("calendar")) return field_text(schedule, "calendar");
    if (schedule.contains("continuous"))
        return "lag " + field_text(schedule.at("continuous"), "lag");
    if (schedule.contains("once")) return "once " + field_text(schedule, "once");
    return "manual";
}

void add_job_command(CLI::App& app, std::function<int()>& run) {
    CLI::App* job = app.add_subcommand("job", "Standing orders of the daemon.");
    job->require_subcommand(1);
    add_create(*job, run);
    add_edit(*job, run);
    auto words = std::make_shared<JobOrder>();
    CLI::App* listing = add(*job, words, "list", "All jobs, or those that are asked for.");
    listing->add_option("--state", words->state)->type_name("STATE");
    listing->add_option("--tag", words->tag)->type_name("TAG");
    listing->add_option("--group", words->group)->type_name("NAME");
    listing->add_option("--name", words->part)->type_name("PART");
    describe_by_api(
        *listing, "list_jobs",
        {{"--state", "state"}, {"--tag", "tag"}, {"--group", "group"}, {"--name", "name"}});
    listing->callback([words, &run] { run = [words] { return list(*words); }; });
    auto one = std::make_shared<JobOrder>();
    add_named(*job, one, "show", "One job.")->callback([one, &run] {
        run = [one] { return finish(*one, one->client().call("GET", one->path()), show_job); };
    });
    auto looking = std::make_shared<JobOrder>();
    add_named(*job, looking, "preflight", "What would stop a run, and what is good to know.")
        ->callback([looking, &run] { run = [looking] { return preflight(*looking); }; });
    auto history = std::make_shared<JobOrder>();
    add_named(*job, history, "points", "Its recovery points, the newest first.")
        ->callback([history, &run] { run = [history] { return points(*history); }; });
    add_verb(*job, run, "pause", "Begins no further run; one that goes on stops where it is.");
    add_verb(*job, run, "resume", "Goes on, after a pause or after failures.");
    add_job_delete(*job, run);
}

}  // namespace towline
