// SPDX-License-Identifier: Apache-2.0
// `towline job …`: the words of the command line become the fields of the API, one to one; what is
// wrong with them the daemon says.

#include <cstdio>

#include "tools/towline/api_command.hpp"
#include "tools/towline/commands.hpp"
#include "tools/towline/exit_codes.hpp"
#include "tools/towline/progress_bar.hpp"

namespace towline {

using nlohmann::json;

namespace {

struct JobWords : ApiWords {
    std::string name;
    std::vector<std::string> volumes;
    std::string target;
    std::string description;
    std::vector<std::string> tags;
    std::string every, calendar, lag, once;
    bool manual = false;
    std::string start;
    std::string next_run;
    std::string compress;
    double rate_mbit = 0;
    bool verify = false;
    std::string tracker, snapshot;
    std::string lag_max;
    bool freeze = true;
    std::uint64_t store_bytes = 0;
    bool overwrite = false;
    bool ignore_critical = false;
    unsigned failures_max = 0;
    unsigned on_demand_per_day = 0;
    bool dry_run = false;
    // list
    std::string state, tag, part;

    std::string path(const std::string& verb = "") const {
        return "/v1/jobs/" + percent_encoded(name) + verb + (dry_run ? "?dry_run=true" : "");
    }
};

using Words = std::shared_ptr<JobWords>;

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

void add_manner(CLI::App& command, JobWords& words) {
    command.add_option("--description", words.description, "what it is for");
    command.add_option("--tag", words.tags, "may be given up to 20 times");
    command.add_option("--rate", words.rate_mbit, "limit on the wire in Mbit/s; 0 is none");
    command.add_option("--compress", words.compress, "auto, or 0 (none) to 10 (densest)");
    command.add_flag("--verify,!--no-verify", words.verify,
                     "the target reads back what it wrote before it attests");
    command.add_option("--tracker", words.tracker,
                       "what knows the changes: auto, kmod, bpf, fuse, scan");
    command.add_option("--snapshot", words.snapshot,
                       "what a live volume is read from: auto, kmod, fuse, none");
    command
        .add_option("--store", words.store_bytes,
                    "room for what is overwritten while a snapshot stands; 0: by the volume")
        ->transform(CLI::AsSizeValue(false));
    command.add_flag("--freeze,!--no-freeze", words.freeze,
                     "freeze the volume's filesystems around the snapshot (default)");
    command.add_flag("--ignore-critical,!--no-ignore-critical", words.ignore_critical,
                     "run, whatever the preflight before the first run finds");
    command.add_option("--lag-max", words.lag_max,
                       "tell of a replica that is older than this; none: of none");
    command.add_option("--failures-max", words.failures_max,
                       "failures in a row until the job waits for a person (3)");
    command.add_option("--on-demand-per-day", words.on_demand_per_day,
                       "runs on demand in 24 h; 0 is no limit");
}

void put_schedule(const JobWords& words, json& body) {
    if (!words.every.empty()) body["schedule"] = {{"every", words.every}};
    if (!words.calendar.empty()) body["schedule"] = {{"calendar", words.calendar}};
    if (!words.lag.empty()) body["schedule"] = {{"continuous", {{"lag", words.lag}}}};
    if (!words.once.empty()) body["schedule"] = {{"once", words.once}};
    if (words.manual) body["schedule"] = {{"manual", true}};
}

// Only what was said: an edit leaves the rest as it is.
json body_of(const JobWords& words, const CLI::App& command) {
    const auto given = [&](const char* option) { return command.count(option) > 0; };
    json body = json::object();
    put_schedule(words, body);
    if (given("--description")) body["description"] = words.description;
    if (given("--tag")) body["tags"] = words.tags;
    if (given("--rate")) body["rate_mbit"] = words.rate_mbit;
    if (given("--verify")) body["verify"] = words.verify;
    if (given("--tracker")) body["tracker"] = words.tracker;
    if (given("--snapshot")) body["snapshot"] = words.snapshot;
    if (given("--store")) body["snapshot_store_bytes"] = words.store_bytes;
    if (given("--freeze")) body["freeze"] = words.freeze;
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

void show_change(const json& body) {
    const json& job = body.at("job");
    std::printf("job %s: %s%s, %s\n", field_text(job, "name").c_str(),
                body.at("changed").get<bool>() ? "changed" : "not changed",
                body.at("dry_run").get<bool>() ? " (dry run)" : "",
                field_text(job, "state").c_str());
}

void show_job(const json& job) {
    static constexpr std::array kFields{"name",       "description",     "tags",
                                        "state",      "volumes",         "target",
                                        "schedule",   "start",           "next_run_at",
                                        "active_run", "lag_seconds",     "replica_of",
                                        "point",      "failures",        "failures_max",
                                        "rate_mbit",  "compression",     "verify",
                                        "tracker",    "snapshot",        "snapshot_store_bytes",
                                        "freeze",     "ignore_critical", "lag_max",
                                        "lagging",    "overwrite",       "on_demand_per_day",
                                        "created_at", "changed_at",      "revision"};
    for (const char* field : kFields)
        std::printf("%-18s %s\n", field, field_text(job, field).c_str());
}

// Exit 3 where something would stop a run.
int preflight(const JobWords& words) {
    const auto answer = words.client().call("POST", words.path("/preflight"));
    const int code = finish(words, answer, [](const json& body) {
        for (const json& each : body.at("findings"))
            std::printf("%-9s %-17s %s\n", field_text(each, "severity").c_str(),
                        field_text(each, "code").c_str(), field_text(each, "message").c_str());
        std::printf("the volume reads at %s/s; the first run takes about %s, the next %s at most\n",
                    body.at("read_bytes_per_second").is_null()
                        ? "-"
                        : human_bytes(body.at("read_bytes_per_second").get<double>()).c_str(),
                    time_left(body.at("first_seconds")).c_str(),
                    time_left(body.at("next_seconds")).c_str());
    });
    const bool stops = code == 0 && answer->body.at("stops").get<bool>();
    return stops ? static_cast<int>(Exit::kRefused) : code;
}

int list(const JobWords& words) {
    std::string path = "/v1/jobs?limit=500";
    if (!words.state.empty()) path += "&state=" + percent_encoded(words.state);
    if (!words.tag.empty()) path += "&tag=" + percent_encoded(words.tag);
    if (!words.part.empty()) path += "&name=" + percent_encoded(words.part);
    json jobs = json::array();
    std::string cursor;
    while (true) {
        const auto page = words.client().call("GET", path + cursor);
        if (!page || !page->good()) return finish(words, page, [](const json&) {});
        for (const json& job : page->body.at("jobs"))
            jobs.push_back(job);
        if (page->body.at("next").is_null()) break;
        cursor = "&cursor=";
        cursor += page->body.at("next").get<std::string>();
    }
    const ApiClient::Answer all{200, {{"jobs", jobs}, {"next", nullptr}}};
    return finish(words, all,
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
    auto words = std::make_shared<JobWords>();
    CLI::App* command =
        add_named(parent, words, "create", "Creates the job, or makes it exactly this.");
    command->add_option("--volume", words->volumes, "a block device or image file")->required();
    command
        ->add_option("--target", words->target,
                     "a path, tcp://HOST:PORT/NAME, unix:PATH:/NAME or vault:DIR/NAME")
        ->required();
    add_schedule(*command, *words);
    command->add_option("--start", words->start,
                        "the first run: schedule (default), now, manual, or a time");
    add_manner(*command, *words);
    command->add_flag("--overwrite", words->overwrite,
                      "the target's data may be replaced, whatever it is");
    command->add_flag("--dry-run", words->dry_run, "say what would change");
    command->callback([words, command, &run] {
        run = [words, command] {
            json body = body_of(*words, *command);
            body["volumes"] = words->volumes;
            body["target"] = words->target;
            if (!words->start.empty()) body["start"] = words->start;
            if (words->overwrite) body["overwrite"] = true;
            return finish(*words, words->client().call("PUT", words->path(), body), show_change);
        };
    });
}

void add_edit(CLI::App& parent, std::function<int()>& run) {
    auto words = std::make_shared<JobWords>();
    CLI::App* command = add_named(parent, words, "edit",
                                  "Changes what is given; a run that goes on follows at once.");
    add_schedule(*command, *words);
    add_manner(*command, *words);
    command->add_option("--next-run", words->next_run, "when it is due next; given alone");
    command->add_flag("--dry-run", words->dry_run, "say what would change");
    command->callback([words, command, &run] {
        run = [words, command] {
            json body = body_of(*words, *command);
            if (!words->next_run.empty()) body["next_run_at"] = words->next_run;
            return finish(*words, words->client().call("PATCH", words->path(), body), show_change);
        };
    });
}

void add_verb(CLI::App& parent, std::function<int()>& run, const char* name, const char* help) {
    auto words = std::make_shared<JobWords>();
    CLI::App* command = add_named(parent, words, name, help);
    const std::string verb = name;
    command->callback([words, verb, &run] {
        run = [words, verb] {
            const bool gone = verb == "delete";
            return finish(
                *words,
                words->client().call(gone ? "DELETE" : "POST", words->path(gone ? "" : "/" + verb)),
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
    auto words = std::make_shared<JobWords>();
    CLI::App* listing = add(*job, words, "list", "All jobs, or those that are asked for.");
    listing->add_option("--state", words->state, "Active, Failing, Paused, …");
    listing->add_option("--tag", words->tag, "jobs that have it");
    listing->add_option("--name", words->part, "a part of the name");
    listing->callback([words, &run] { run = [words] { return list(*words); }; });
    auto one = std::make_shared<JobWords>();
    add_named(*job, one, "show", "One job.")->callback([one, &run] {
        run = [one] { return finish(*one, one->client().call("GET", one->path()), show_job); };
    });
    auto looking = std::make_shared<JobWords>();
    add_named(*job, looking, "preflight", "What would stop a run, and what is good to know.")
        ->callback([looking, &run] { run = [looking] { return preflight(*looking); }; });
    add_verb(*job, run, "pause", "Begins no further run; one that goes on stops where it is.");
    add_verb(*job, run, "resume", "Goes on, after a pause or after failures.");
    add_verb(*job, run, "delete", "Stops the job and forgets it; the target stays as it is.");
}

}  // namespace towline
