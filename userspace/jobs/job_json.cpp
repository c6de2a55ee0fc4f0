// SPDX-License-Identifier: Apache-2.0
// Both directions beside each other. The library throws where a stored document is not of its form;
// that ends here, as kCorrupt.

#include "userspace/jobs/job_json.hpp"

#include <filesystem>
#include <set>

#include <nlohmann/json.hpp>

#include "transport/address.hpp"
#include "userspace/vault/vault_name.hpp"

namespace towline {

using nlohmann::json;

namespace {

using Invalid = std::unexpected<FieldError>;

Invalid invalid(std::string field, std::string message) {
    return Invalid(FieldError{std::move(field), std::move(message)});
}

json schedule_json(const Schedule& schedule) {
    switch (schedule.kind) {
        case Schedule::Kind::kManual:
            break;
        case Schedule::Kind::kOnce:
            return {{"once", time_text(schedule.at)}};
        case Schedule::Kind::kEvery:
            return {{"every", span_text(schedule.span)}};
        case Schedule::Kind::kCalendar:
            return {{"calendar", schedule.expression}};
        case Schedule::Kind::kContinuous:
            return {{"continuous", {{"lag", span_text(schedule.span)}}}};
    }
    return {{"manual", true}};
}

// A string in one of both forms of time, or a number of seconds since the epoch.
std::optional<WallTime> time_of(const json& value) {
    if (value.is_number_unsigned()) return parse_time(std::to_string(value.get<std::uint64_t>()));
    if (value.is_string()) return parse_time(value.get<std::string>());
    return std::nullopt;
}

std::expected<Schedule, FieldError> checked(Result<Schedule> schedule, std::string field) {
    if (!schedule) return invalid(std::move(field), schedule.error().context);
    return std::move(*schedule);
}

std::expected<Schedule, FieldError> schedule_of(const json& value) {
    if (value.contains("once")) {
        const auto at = time_of(value.at("once"));
        if (!at)
            return invalid("schedule.once",
                           "neither a time as 2026-01-31T12:00:00Z nor seconds since the epoch");
        return Schedule::once(*at);
    }
    if (value.contains("every")) {
        const auto span = parse_span(value.at("every").get<std::string>());
        if (!span) return invalid("schedule.every", "no span of time, as 30s, 15min, 6h or 1d");
        return checked(Schedule::every(*span), "schedule.every");
    }
    if (value.contains("calendar"))
        return checked(Schedule::on_calendar(value.at("calendar").get<std::string>()),
                       "schedule.calendar");
    if (value.contains("continuous")) {
        const auto span = parse_span(value.at("continuous").at("lag").get<std::string>());
        if (!span) return invalid("schedule.continuous.lag", "no span of time, as 5s or 1min");
        return checked(Schedule::continuous(*span), "schedule.continuous.lag");
    }
    return Schedule::manual();
}

json start_json(const Start& start) {
    switch (start.kind) {
        case Start::Kind::kSchedule:
            break;
        case Start::Kind::kNow:
            return "now";
        case Start::Kind::kAt:
            return time_text(start.at);
        case Start::Kind::kManual:
            return "manual";
        case Start::Kind::kTestOnly:
            return "test-only";
        case Start::Kind::kTestThenStart:
            return "test-then-start";
    }
    return "schedule";
}

std::expected<Start, FieldError> start_of(const json& value) {
    if (value == "schedule") return Start{};
    if (value == "now") return Start{.kind = Start::Kind::kNow};
    if (value == "manual") return Start{.kind = Start::Kind::kManual};
    if (value == "test-only") return Start{.kind = Start::Kind::kTestOnly};
    if (value == "test-then-start") return Start{.kind = Start::Kind::kTestThenStart};
    const auto at = time_of(value);
    if (!at)
        return invalid("start",
                       "schedule, now, manual, test-only, test-then-start, a time as "
                       "2026-01-31T12:00:00Z or seconds since the epoch");
    return Start{.kind = Start::Kind::kAt, .at = *at};
}

// Several become one point: only a vault has points, and each volume has a name in it.
std::optional<FieldError> check_volumes(const JobSpec& spec) {
    std::set<std::string> names;
    for (const std::string& volume : spec.volumes) {
        if (!volume.starts_with('/')) return FieldError{"volumes", volume + " is no absolute path"};
        const std::string name = std::filesystem::path(volume).filename().string();
        if (spec.volumes.size() > 1 && !names.insert(name).second)
            return FieldError{"volumes", "two volumes would be called " + name +
                                             " in the point; give one of them another name (a "
                                             "link), or make two jobs"};
    }
    const bool vault =
        spec.target.starts_with("vault:") || spec.target.find("/vault:") != std::string::npos;
    if (spec.volumes.size() > 1 && !vault)
        return FieldError{"volumes",
                          "several volumes of one moment are kept in a vault (target "
                          "vault:DIR/NAME); to devices or images make a job for each"};
    return std::nullopt;
}

std::optional<FieldError> check_places(const JobSpec& spec) {
    if (auto wrong = check_volumes(spec)) return wrong;
    const std::string& target = spec.target;
    if (target.starts_with('/')) return std::nullopt;
    if (!spec.journal.empty())
        return FieldError{"journal",
                          "it is for a replica on this host: a server stages in the folder of its "
                          "own --journal, and a vault needs none"};
    const auto vault = VaultName::parse(target);
    if (!vault) return FieldError{"target", vault.error().context};
    if (*vault) {
        if ((*vault)->folder.is_absolute() && !(*vault)->name.empty() && (*vault)->point.empty())
            return std::nullopt;
        return FieldError{"target", target + ": write vault:DIR/NAME, with an absolute DIR"};
    }
    const auto remote = RemoteTarget::parse(target);
    if (!remote) return FieldError{"target", remote.error().context};
    if (!*remote)
        return FieldError{"target", target +
                                        " is no absolute path, tcp://HOST:PORT/NAME, "
                                        "unix:PATH:/NAME or vault:DIR/NAME"};
    return std::nullopt;
}

template <typename T>
void read(const json& from, const char* key, T& into) {
    if (const auto found = from.find(key); found != from.end() && !found->is_null())
        into = found->get<T>();
}

void read(const json& from, const char* key, std::optional<double>& into) {
    if (const auto found = from.find(key); found != from.end() && found->is_number())
        into = found->get<double>();
}

void read(const json& from, const char* key, std::optional<WallTime>& into) {
    if (const auto found = from.find(key); found != from.end() && !found->is_null())
        into = time_of(*found);
}

template <typename T>
T known(std::optional<T> value, const char* what) {
    if (!value) throw std::invalid_argument(what);
    return *value;
}

json maybe(const std::optional<double>& number) {
    return number ? json(*number) : json(nullptr);
}

json maybe(const std::string& text) {
    return text.empty() ? json(nullptr) : json(text);
}

Error corrupt(const char* what, const std::exception& problem) {
    return {Code::kCorrupt, 0, std::string("a stored ") + what + " is damaged: " + problem.what()};
}

}  // namespace

json json_of(const std::optional<WallTime>& time) {
    return time ? json(time_text(*time)) : json(nullptr);
}

json json_of(const JobSpec& spec) {
    return {{"name", spec.name},
            {"description", spec.description},
            {"tags", spec.tags},
            {"volumes", spec.volumes},
            {"target", spec.target},
            {"template", maybe(spec.from_template)},
            {"schedule", schedule_json(spec.schedule)},
            {"start", start_json(spec.start)},
            {"rate_mbit", spec.transfer.rate_mbit},
            {"compression", spec.transfer.level ? json(*spec.transfer.level) : json("auto")},
            {"verify", spec.transfer.verify},
            {"tracker", spec.moment.tracker},
            {"snapshot", spec.moment.snapshot},
            {"snapshot_store_bytes", spec.moment.snapshot_store_bytes},
            {"freeze", spec.moment.freeze},
            {"audit_days", spec.moment.audit_days},
            {"ignore_critical", spec.ignore_critical},
            {"overwrite", spec.overwrite},
            {"direct", spec.direct},
            {"journal", spec.journal},
            {"lag_max", spec.lag_max ? json(span_text(*spec.lag_max)) : json(nullptr)},
            {"failures_max", spec.failures_max},
            {"on_demand_per_day", spec.on_demand_per_day}};
}

std::expected<JobSpec, FieldError> spec_of(const json& value) {
    JobSpec spec;
    read(value, "name", spec.name);
    read(value, "description", spec.description);
    read(value, "tags", spec.tags);
    read(value, "volumes", spec.volumes);
    read(value, "target", spec.target);
    read(value, "template", spec.from_template);
    read(value, "rate_mbit", spec.transfer.rate_mbit);
    read(value, "verify", spec.transfer.verify);
    read(value, "tracker", spec.moment.tracker);
    read(value, "snapshot", spec.moment.snapshot);
    read(value, "snapshot_store_bytes", spec.moment.snapshot_store_bytes);
    read(value, "freeze", spec.moment.freeze);
    read(value, "audit_days", spec.moment.audit_days);
    read(value, "ignore_critical", spec.ignore_critical);
    read(value, "overwrite", spec.overwrite);
    read(value, "direct", spec.direct);
    read(value, "journal", spec.journal);
    read(value, "failures_max", spec.failures_max);
    read(value, "on_demand_per_day", spec.on_demand_per_day);
    if (const auto level = value.find("compression"); level != value.end() && level->is_number())
        spec.transfer.level = level->get<int>();
    if (const auto lag = value.find("lag_max"); lag != value.end() && lag->is_string()) {
        spec.lag_max = parse_span(lag->get<std::string>());
        if (!spec.lag_max || *spec.lag_max < std::chrono::seconds(1))
            return invalid("lag_max", "no span of time of a second at least, as 30s or 15min");
    }
    auto schedule = schedule_of(value.value("schedule", json::object()));
    if (!schedule) return Invalid(schedule.error());
    spec.schedule = std::move(*schedule);
    const auto start = start_of(value.value("start", json("schedule")));
    if (!start) return Invalid(start.error());
    spec.start = *start;
    if (auto wrong = check_places(spec)) return Invalid(std::move(*wrong));
    return spec;
}

json json_of(const Run& run) {
    json value{{"id", run.id},
               {"job", run.job},
               {"type", name_of(run.type)},
               {"state", name_of(run.state)},
               {"stage", run.stage == RunStage::kNone ? json(nullptr) : json(name_of(run.stage))},
               {"created_at", time_text(run.created_at)},
               {"scheduled_at", json_of(run.scheduled_at)},
               {"started_at", json_of(run.started_at)},
               {"ended_at", json_of(run.ended_at)},
               {"attempt", run.attempt},
               {"continued", run.continued},
               {"missed", run.missed},
               {"paused", run.paused},
               {"cancelling", run.cancelling},
               {"mode", maybe(run.mode)},
               {"cause", maybe(run.cause)},
               {"tracker", maybe(run.moment.tracker)},
               {"snapshot", maybe(run.moment.snapshot)},
               {"label", maybe(run.moment.label)},
               {"notes", maybe(run.moment.notes)},
               {"bytes_total", run.numbers.total_bytes},
               {"bytes_changed", run.numbers.changed_bytes},
               {"bytes_done", run.numbers.done_bytes},
               {"bytes_sent", run.numbers.sent_bytes},
               {"dirty_bytes_per_second", maybe(run.numbers.dirty_bytes_per_second)},
               {"point", maybe(run.point)},
               {"verified", run.verified ? json(*run.verified) : json(nullptr)},
               {"error", nullptr}};
    if (run.miss_run != 0) value["missed_run"] = run.miss_run;
    if (run.failure)
        value["error"] = {{"code", run.failure->code},
                          {"message", run.failure->message},
                          {"retriable", run.failure->retriable}};
    return value;
}

Result<Run> run_of(const json& value) {
    try {
        Run run;
        run.id = value.at("id");
        run.job = value.at("job");
        run.type = known(run_type_of(value.at("type").get<std::string>()), "type");
        run.state = known(run_state_of(value.at("state").get<std::string>()), "state");
        if (value.at("stage").is_string())
            run.stage = known(run_stage_of(value.at("stage").get<std::string>()), "stage");
        run.created_at = known(time_of(value.at("created_at")), "created_at");
        read(value, "scheduled_at", run.scheduled_at);
        read(value, "started_at", run.started_at);
        read(value, "ended_at", run.ended_at);
        read(value, "attempt", run.attempt);
        read(value, "continued", run.continued);
        read(value, "missed", run.missed);
        read(value, "missed_run", run.miss_run);
        read(value, "paused", run.paused);
        read(value, "cancelling", run.cancelling);
        read(value, "mode", run.mode);
        read(value, "cause", run.cause);
        read(value, "tracker", run.moment.tracker);
        read(value, "snapshot", run.moment.snapshot);
        read(value, "label", run.moment.label);
        read(value, "notes", run.moment.notes);
        read(value, "bytes_total", run.numbers.total_bytes);
        read(value, "bytes_changed", run.numbers.changed_bytes);
        read(value, "bytes_done", run.numbers.done_bytes);
        read(value, "bytes_sent", run.numbers.sent_bytes);
        read(value, "dirty_bytes_per_second", run.numbers.dirty_bytes_per_second);
        read(value, "point", run.point);
        if (const json verified = value.value("verified", json()); verified.is_boolean())
            run.verified = verified.get<bool>();
        if (const json& error = value.at("error"); error.is_object())
            run.failure = RunFailure{error.at("code"), error.at("message"), error.at("retriable")};
        return run;
    } catch (const std::exception& problem) {
        return std::unexpected(corrupt("run", problem));
    }
}

json stored_form(const Job& job) {
    std::vector<std::string> on_demand;
    on_demand.reserve(job.on_demand.size());
    for (const WallTime at : job.on_demand)
        on_demand.push_back(time_text(at));
    return {{"spec", json_of(job.spec)},
            {"revision", job.revision},
            {"state", name_of(job.state)},
            {"tested", job.tested},
            {"created_at", time_text(job.created_at)},
            {"changed_at", time_text(job.changed_at)},
            {"next_run_at", json_of(job.next_run_at)},
            {"retry_at", json_of(job.retry_at)},
            {"failures", job.failures},
            {"active_run", job.active_run},
            {"on_demand", on_demand},
            {"replica_of", json_of(job.replica_of)},
            {"lagging", job.lagging},
            {"last_duration_ms", job.last_duration.count()},
            {"point", job.point}};
}

Result<Job> job_of(const json& stored) {
    try {
        Job job;
        auto spec = spec_of(stored.at("spec"));
        if (!spec)
            return fail(Code::kCorrupt, "a stored job is damaged: " + spec.error().field + ": " +
                                            spec.error().message);
        job.spec = std::move(*spec);
        job.revision = stored.at("revision");
        job.state = known(job_state_of(stored.at("state").get<std::string>()), "state");
        job.created_at = known(time_of(stored.at("created_at")), "created_at");
        job.changed_at = known(time_of(stored.at("changed_at")), "changed_at");
        read(stored, "tested", job.tested);
        read(stored, "next_run_at", job.next_run_at);
        read(stored, "retry_at", job.retry_at);
        job.failures = stored.at("failures");
        job.active_run = stored.at("active_run");
        for (const json& at : stored.at("on_demand"))
            job.on_demand.push_back(known(time_of(at), "on_demand"));
        read(stored, "replica_of", job.replica_of);
        read(stored, "lagging", job.lagging);
        job.last_duration = WallSpan(stored.at("last_duration_ms").get<std::int64_t>());
        job.point = stored.at("point");
        return job;
    } catch (const std::exception& problem) {
        return std::unexpected(corrupt("job", problem));
    }
}

}  // namespace towline
