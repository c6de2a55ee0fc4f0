// SPDX-License-Identifier: Apache-2.0
// `towline run …`, `towline event follow` and `towline status`.

#include <chrono>
#include <cstdio>
#include <thread>
#include <unistd.h>

#include "tools/towline/api_command.hpp"
#include "tools/towline/api_help.hpp"
#include "tools/towline/commands.hpp"
#include "tools/towline/exit_codes.hpp"
#include "tools/towline/progress_bar.hpp"

namespace towline {

using nlohmann::json;

namespace {

constexpr auto kWatchInterval = std::chrono::milliseconds(500);
constexpr const char* kWaitQuery = "?wait_seconds=20";

struct RunWords : ApiWords {
    std::string job;
    std::string id;
    std::string state;
    std::string since;
    bool wait = false;
    bool watch = false;
    bool progress = false;
    int limit = 50;

    std::string path(const std::string& verb = "") const {
        return "/v1/runs/" + percent_encoded(id) + verb;
    }
};

using Words = std::shared_ptr<RunWords>;

void show_run(const json& run) {
    std::printf("run %s of job %s: %s %s", field_text(run, "id").c_str(),
                field_text(run, "job").c_str(), field_text(run, "type").c_str(),
                field_text(run, "state").c_str());
    if (run.at("state") == "Active") std::printf(", %s", progress_text(run).c_str());
    if (run.at("type") == "Test") std::printf(", %s", field_text(run, "notes").c_str());
    if (run.at("state") == "Completed" && run.at("type") != "Test")
        std::printf(", %s: %s changed, %s sent, point %s%s", field_text(run, "cause").c_str(),
                    human_bytes(run.at("bytes_changed").get<double>()).c_str(),
                    human_bytes(run.at("bytes_sent").get<double>()).c_str(),
                    field_text(run, "point").c_str(),
                    run.value("verified", json()) == json(true) ? ", read back" : "");
    if (run.at("error").is_object())
        std::printf(", %s", field_text(run.at("error"), "message").c_str());
    std::printf("\n");
}

bool has_ended(const json& run) {
    return run.at("state") != "Scheduled" && run.at("state") != "Active";
}

int exit_of_end(const json& run) {
    if (run.at("state") == "Completed") return 0;
    return static_cast<int>(run.at("state") == "Cancelled" ? Exit::kInterrupted : Exit::kRunFailed);
}

// Until the run has ended; with a line of progress where that is wanted.
int wait_for(const RunWords& words, bool watch) {
    const bool draw = watch && ::isatty(STDERR_FILENO) == 1;
    while (true) {
        const auto answer = words.client().call("GET", words.path() + (draw ? "" : kWaitQuery));
        if (!answer || !answer->good()) return finish(words, answer, show_run);
        if (draw && !words.json)
            std::fprintf(stderr, "\r%s\033[K", progress_text(answer->body).c_str());
        if (has_ended(answer->body)) {
            if (draw) std::fprintf(stderr, "\r\033[K");
            const int shown = finish(words, answer, show_run);
            return shown != 0 ? shown : exit_of_end(answer->body);
        }
        if (draw) std::this_thread::sleep_for(kWatchInterval);
    }
}

int start(RunWords& words) {
    const auto answer =
        words.client().call("POST", "/v1/jobs/" + percent_encoded(words.job) + "/runs");
    if (!words.wait || !answer || !answer->good()) return finish(words, answer, show_run);
    words.id = field_text(answer->body, "id");
    return wait_for(words, true);
}

int list(const RunWords& words) {
    std::string path =
        words.job.empty() ? "/v1/runs" : "/v1/jobs/" + percent_encoded(words.job) + "/runs";
    if (!words.state.empty()) path += "?state=" + percent_encoded(words.state);
    return finish(words, words.client().call("GET", path),
                  [](const json& body) { std::printf("%s", runs_table(body.at("runs")).c_str()); });
}

// The job, or what else it is about: a group, a template.
std::string subject_of(const json& event) {
    return event.at("job").is_null() ? field_text(event.at("data"), "name")
                                     : field_text(event, "job");
}

int follow(const RunWords& words) {
    const std::string since = words.since.empty() ? "" : "&since=" + percent_encoded(words.since);
    const std::string progress = words.progress ? "&progress=true" : "";
    const auto answer = words.client().follow(
        "/v1/events?follow=true" + since + progress, [&](const std::string& line) {
            const json event = json::parse(line, nullptr, false);
            if (words.json || !event.is_object() || event.contains("gap")) {
                std::printf("%s\n", line.c_str());
            } else if (event.contains("progress")) {
                const json& run = event.at("progress");
                std::printf("%s run %s: %s\n", field_text(run, "job").c_str(),
                            field_text(run, "id").c_str(), progress_text(run).c_str());
            } else {
                std::printf(
                    "%s  %-24s %s%s\n", field_text(event, "at").c_str(),
                    field_text(event, "type").c_str(), subject_of(event).c_str(),
                    event.at("run").is_null() ? "" : (" run " + field_text(event, "run")).c_str());
            }
            std::fflush(stdout);
            return true;
        });
    if (!answer) return report(answer.error());
    return answer->good() ? 0 : report_refused(*answer);
}

int status_once(const RunWords& words) {
    const auto meta = words.client().call("GET", "/v1/meta");
    if (!meta || !meta->good()) return finish(words, meta, [](const json&) {});
    const auto jobs = words.client().all("/v1/jobs", "jobs");
    if (!jobs || !jobs->good()) return finish(words, jobs, [](const json&) {});
    const auto active = words.client().all("/v1/runs?state=Active", "runs");
    if (!active || !active->good()) return finish(words, active, [](const json&) {});
    if (words.json) {
        const json all{{"meta", meta->body},
                       {"jobs", jobs->body.at("jobs")},
                       {"runs", active->body.at("runs")}};
        std::printf("%s\n", all.dump(2).c_str());
        return 0;
    }
    std::printf("towlined %s since %s; you are %s\n\n", field_text(meta->body, "version").c_str(),
                field_text(meta->body, "started_at").c_str(),
                field_text(meta->body, "role").c_str());
    std::printf("%s", jobs_table(jobs->body.at("jobs")).c_str());
    if (!active->body.at("runs").empty())
        std::printf("\n%s", runs_table(active->body.at("runs")).c_str());
    return 0;
}

int status(const RunWords& words) {
    while (words.watch) {
        std::printf("\033[H\033[2J");
        if (const int code = status_once(words); code != 0) return code;
        std::fflush(stdout);
        std::this_thread::sleep_for(2 * kWatchInterval);
    }
    return status_once(words);
}

CLI::App* add(CLI::App& parent, const Words& words, const char* name, const char* help,
              std::function<int()>& run, int (*command)(RunWords&)) {
    CLI::App* added = parent.add_subcommand(name, help);
    add_api_options(*added, *words);
    added->callback([words, command, &run] { run = [words, command] { return command(*words); }; });
    return added;
}

CLI::App* add_by_id(CLI::App& parent, const char* name, const char* help, std::function<int()>& run,
                    int (*command)(RunWords&)) {
    auto words = std::make_shared<RunWords>();
    CLI::App* added = add(parent, words, name, help, run, command);
    added->add_option("ID", words->id, "the run")->required();
    return added;
}

int audit(const RunWords& words) {
    const std::string path = "/v1/audit?limit=" + std::to_string(words.limit);
    return finish(words, words.client().call("GET", path), [](const json& body) {
        TextTable table({"NUMBER", "AT", "UID", "ROLE", "WHAT", "OF"});
        for (const json& each : body.at("records"))
            table.add({field_text(each, "sequence"), field_text(each, "at"),
                       field_text(each, "uid"), field_text(each, "role"),
                       field_text(each, "operation"), field_text(each, "object")});
        std::printf("%s", table.text().c_str());
    });
}

}  // namespace

std::string runs_table(const json& runs) {
    TextTable table({"RUN", "JOB", "TYPE", "STATE", "STARTED", "CHANGED", "SENT", "NOTE"});
    for (const json& run : runs) {
        std::string note = field_text(run, "cause");
        if (run.at("state") == "Active") note = progress_text(run);
        if (run.at("error").is_object()) note = field_text(run.at("error"), "message");
        if (run.at("state") == "Missed") note = field_text(run, "missed") + " times";
        table.add({field_text(run, "id"), field_text(run, "job"), field_text(run, "type"),
                   field_text(run, "state"), field_text(run, "started_at"),
                   human_bytes(run.at("bytes_changed").get<double>()),
                   human_bytes(run.at("bytes_sent").get<double>()), note});
    }
    return table.text();
}

void add_run_command(CLI::App& app, std::function<int()>& run) {
    CLI::App* parent = app.add_subcommand("run", "Executions of jobs.");
    parent->require_subcommand(1);
    auto starting = std::make_shared<RunWords>();
    CLI::App* begin = add(*parent, starting, "start", "A run on demand, at once.", run, start);
    begin->add_option("JOB", starting->job, "the job")->required();
    begin->add_flag("--wait", starting->wait, "end when the run has ended, as it did");
    auto listing = std::make_shared<RunWords>();
    CLI::App* all = add(*parent, listing, "list", "The newest runs, of all jobs or of one.", run,
                        [](RunWords& words) { return list(words); });
    all->add_option("JOB", listing->job, "the job");
    all->add_option("--state", listing->state)->type_name("STATE");
    describe_by_api(*all, "list_runs", {{"--state", "state"}});
    add_by_id(*parent, "show", "One run.", run, [](RunWords& words) {
        return finish(words, words.client().call("GET", words.path()), show_run);
    });
    add_by_id(
        *parent, "cancel", "Ends a run; its job goes on with the next.", run, [](RunWords& words) {
            return finish(words, words.client().call("POST", words.path("/cancel")), show_run);
        });
    add_by_id(*parent, "watch", "Shows a run's progress until it has ended.", run,
              [](RunWords& words) { return wait_for(words, true); });
    add_by_id(*parent, "wait", "Ends when the run has ended, as it did.", run,
              [](RunWords& words) { return wait_for(words, false); });
}

void add_event_command(CLI::App& app, std::function<int()>& run) {
    CLI::App* parent = app.add_subcommand("event", "What happens in the daemon.");
    parent->require_subcommand(1);
    auto words = std::make_shared<RunWords>();
    CLI::App* command = add(*parent, words, "follow", "A line for each event, from now on.", run,
                            [](RunWords& each) { return follow(each); });
    command->add_option("--since", words->since)->type_name("SEQUENCE");
    command->add_flag("--progress", words->progress);
    describe_by_api(*command, "follow_events", {{"--since", "since"}, {"--progress", "progress"}});
    auto looking = std::make_shared<RunWords>();
    add(*parent, looking, "audit", "Who changed what, the newest first.", run,
        [](RunWords& each) { return audit(each); })
        ->add_option("--limit", looking->limit, "the newest so many of them")
        ->type_name("N")
        ->check(CLI::Range(1, 500))
        ->capture_default_str();
}

void add_status_command(CLI::App& app, std::function<int()>& run) {
    auto words = std::make_shared<RunWords>();
    CLI::App* command = add(app, words, "status", "The daemon, its jobs and what goes on.", run,
                            [](RunWords& each) { return status(each); });
    command->add_flag("--watch", words->watch, "again every second");
}

}  // namespace towline
