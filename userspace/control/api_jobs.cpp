// SPDX-License-Identifier: Apache-2.0
// Jobs: what may be asked of them is decided here, what becomes of it by JobCore.

#include <algorithm>

#include "userspace/control/api_named.hpp"

namespace towline {

using nlohmann::json;

namespace {

constexpr std::size_t kLimitDefault = 50;
constexpr WallSpan kStartMax = std::chrono::days(30);

std::string revision_tag(const JobCore* core) {
    return core == nullptr ? "" : std::to_string(core->job().revision);
}

std::expected<const JobCore*, ApiError> find_job(const ApiCall& call, const Scheduler& scheduler) {
    const std::string name = call.word("name");
    const JobCore* core = scheduler.find(name);
    if (core == nullptr) return refused(ApiCode::kNotFound, "there is no job " + name, "name");
    return core;
}

std::unexpected<ApiError> mismatch(const JobCore* core) {
    return refused(ApiCode::kRevisionMismatch,
                   core == nullptr
                       ? std::string("there is no such job yet")
                       : "the job has the revision " + std::to_string(core->job().revision) +
                             ": look at it again",
                   "If-Match");
}

HttpAnswer change_answer(const json& job, bool changed, bool dry_run, int status = 200) {
    HttpAnswer answer =
        json_answer({{"changed", changed}, {"dry_run", dry_run}, {"job", job}}, status);
    answer.headers["ETag"] = "\"" + std::to_string(job.at("revision").get<std::uint64_t>()) + "\"";
    return answer;
}

std::optional<ApiError> check_start(const JobSpec& spec, WallTime now) {
    const bool at = spec.start.kind == Start::Kind::kAt;
    if (at && spec.start.at > now + kStartMax)
        return ApiError{ApiCode::kInvalidRequest, "start is more than 30 days ahead", "start", ""};
    return std::nullopt;
}

std::expected<JobSpec, ApiError> spec_from(const json& body, const std::string& name,
                                           WallTime now) {
    json whole = body;
    whole["name"] = name;
    auto spec = spec_of(whole);
    if (!spec)
        return refused(ApiCode::kInvalidRequest, spec.error().field + ": " + spec.error().message,
                       spec.error().field);
    if (auto problem = check_start(*spec, now)) return std::unexpected(std::move(*problem));
    return std::move(*spec);
}

}  // namespace

json shown(const JobCore& core, WallTime now) {
    const Job& job = core.job();
    json value = json_of(job.spec);
    value["state"] = name_of(job.state);
    value["revision"] = job.revision;
    value["created_at"] = time_text(job.created_at);
    value["changed_at"] = time_text(job.changed_at);
    const auto due = core.due_at();
    value["next_run_at"] = json_of(due);
    value["failures"] = job.failures;
    value["active_run"] = job.active_run == 0 ? json(nullptr) : json(job.active_run);
    value["point"] = job.point.empty() ? json(nullptr) : json(job.point);
    value["replica_of"] = json_of(job.replica_of);
    value["lagging"] = job.lagging;
    value["lag_seconds"] = nullptr;
    if (job.replica_of)
        value["lag_seconds"] = static_cast<double>((now - *job.replica_of).count()) / 1000;
    return value;
}

Api::Answered Api::list_jobs(const HttpRequest&, const ApiCall& call) {
    const std::string state = call.word("state");
    const std::string tag = call.word("tag");
    const std::string part = call.word("name");
    const std::string group = call.word("group");
    const auto all_groups = group.empty() ? std::vector<JobGroup>{} : groups();
    if (!all_groups) return not_stored(all_groups.error());
    const JobGroup* of_group = find_named(*all_groups, group);
    if (!group.empty() && of_group == nullptr) return none_named("group", group);
    const std::size_t limit = call.number("limit").value_or(kLimitDefault);
    json jobs = json::array();
    json next = nullptr;
    service_.look([&](const Scheduler& scheduler, Store&) {
        const WallTime now = clocks_now().wall;
        auto at = scheduler.jobs().begin();
        if (const std::string cursor = call.word("cursor"); !cursor.empty())
            at = scheduler.jobs().upper_bound(cursor);
        for (; at != scheduler.jobs().end(); ++at) {
            const auto& [name, core] = *at;
            const auto& tags = core.job().spec.tags;
            if (!state.empty() && name_of(core.job().state) != state) continue;
            if (!tag.empty() && std::find(tags.begin(), tags.end(), tag) == tags.end()) continue;
            if (name.find(part) == std::string::npos) continue;
            if (of_group != nullptr && !of_group->jobs.contains(name)) continue;
            if (jobs.size() == limit) {
                next = jobs.back().at("name");
                return;
            }
            jobs.push_back(towline::shown(core, now));
        }
    });
    return json_answer({{"jobs", jobs}, {"next", next}});
}

Api::Answered Api::show_job(const HttpRequest&, const ApiCall& call) {
    Answered answer;
    service_.look([&](const Scheduler& scheduler, Store&) {
        const auto core = find_job(call, scheduler);
        if (!core) {
            answer = std::unexpected(core.error());
            return;
        }
        answer = json_answer(towline::shown(**core, clocks_now().wall));
        answer->headers["ETag"] = "\"" + revision_tag(*core) + "\"";
    });
    return answer;
}

Api::Changed Api::put_job(const HttpRequest& request, const ApiCall& call,
                          JobService::Session& session) {
    const WallTime now = session.now().wall;
    const std::string name = call.word("name");
    const JobCore* core = session.scheduler().find(name);
    if (!matches(request, revision_tag(core))) return mismatch(core);
    const auto order = completed(call.body, session.store());
    if (!order) return std::unexpected(order.error());
    auto spec = spec_from(*order, name, now);
    if (!spec) return std::unexpected(spec.error());
    if (core != nullptr) return edit_job(request, call, session, job_event::Edited{*spec}, *spec);
    Change change{.object = "job " + name, .changed = !call.flag("dry_run")};
    if (call.flag("dry_run")) {
        std::vector<JobAction> none;
        const JobCore would(*spec, now, none);
        change.answer = change_answer(towline::shown(would, now), true, true);
        return change;
    }
    if (!session.create(*spec))
        return refused(ApiCode::kLimitReached,
                       "there are " + std::to_string(service_.config().limits.jobs_max) +
                           " jobs, as many as there may be");
    core = session.scheduler().find(name);
    change.after = json_of(core->job().spec);
    change.answer = change_answer(towline::shown(*core, now), true, false, 201);
    return change;
}

Api::Changed Api::patch_job(const HttpRequest& request, const ApiCall& call,
                            JobService::Session& session) {
    const auto core = find_job(call, session.scheduler());
    if (!core) return std::unexpected(core.error());
    json whole = json_of((*core)->job().spec);
    json given = call.body;
    const bool next_set = given.contains("next_run_at");
    if (next_set && given.size() > 1)
        return refused(ApiCode::kInvalidRequest, "next_run_at is changed by itself", "next_run_at");
    if (!next_set) {
        whole.update(given);
        whole.erase("name");
        auto spec = spec_from(whole, call.word("name"), session.now().wall);
        if (!spec) return std::unexpected(spec.error());
        return edit_job(request, call, session, job_event::Edited{*spec}, *spec);
    }
    const json& text = given.at("next_run_at");
    const auto at = parse_time(text.is_string() ? text.get<std::string>() : text.dump());
    if (!at || *at > session.now().wall + kStartMax)
        return refused(ApiCode::kInvalidRequest,
                       "next_run_at is a time as 2026-01-31T12:00:00Z or seconds since the epoch, "
                       "30 days ahead at most",
                       "next_run_at");
    return edit_job(request, call, session, job_event::NextRunSet{*at}, (*core)->job().spec);
}

// `shown_spec` is what a dry run shows.
Api::Changed Api::edit_job(const HttpRequest& request, const ApiCall& call,
                           JobService::Session& session,
                           JobEvent event,  // NOLINT(performance-unnecessary-value-param)
                           const JobSpec& shown_spec) {
    const auto core = find_job(call, session.scheduler());
    if (!core) return std::unexpected(core.error());
    if (!matches(request, revision_tag(*core))) return mismatch(*core);
    if (!call.flag("dry_run")) return step_job(call, session, event);
    JobCore would = **core;
    std::vector<JobAction> none;
    std::uint64_t next_run = 1;
    const JobAnswer answer = would.step(event, session.now().wall, next_run, none);
    if (answer != JobAnswer::kDone && answer != JobAnswer::kUnchanged)
        return refused(answer, **core);
    json value = towline::shown(would, session.now().wall);
    value.update(json_of(shown_spec));
    Change change;
    change.answer = change_answer(value, answer == JobAnswer::kDone, true);
    return change;
}

Api::Changed Api::step_job(const ApiCall& call, JobService::Session& session,
                           const JobEvent& event) {
    const auto core = find_job(call, session.scheduler());
    if (!core) return std::unexpected(core.error());
    const std::string name = call.word("name");
    const WallTime now = session.now().wall;
    json shown_before = towline::shown(**core, now);
    Change change{.object = "job " + name, .before = shown_before};
    const JobAnswer answer = session.step(name, event);
    const JobCore* after = session.scheduler().find(name);
    if (after == nullptr) {
        // It is gone already: it had no run to stop.
        shown_before["state"] = name_of(JobState::kDeleted);
        shown_before["next_run_at"] = nullptr;
        change.changed = true;
        change.answer = change_answer(shown_before, true, false);
        return change;
    }
    if (answer != JobAnswer::kDone && answer != JobAnswer::kUnchanged)
        return refused(answer, *after);
    change.changed = answer == JobAnswer::kDone;
    change.after = towline::shown(*after, now);
    change.answer = change_answer(change.after, change.changed, false);
    return change;
}

Api::Changed Api::delete_job(const HttpRequest& request, const ApiCall& call,
                             JobService::Session& session) {
    const auto core = find_job(call, session.scheduler());
    if (!core) return std::unexpected(core.error());
    return edit_job(request, call, session, job_event::DeleteRequested{}, (*core)->job().spec);
}

Api::Changed Api::pause_job(const HttpRequest&, const ApiCall& call, JobService::Session& session) {
    return step_job(call, session, job_event::PauseRequested{});
}

Api::Changed Api::resume_job(const HttpRequest&, const ApiCall& call,
                             JobService::Session& session) {
    return step_job(call, session, job_event::ResumeRequested{});
}

}  // namespace towline
