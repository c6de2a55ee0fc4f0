// SPDX-License-Identifier: Apache-2.0
// Sets of jobs. A verb of a group is asked of each of its jobs in one transaction; that one of them
// refuses keeps none of the others back, and what each answered is the answer.

#include "userspace/control/api_named.hpp"

namespace towline {

using nlohmann::json;

namespace {

// The first name that no job has.
std::optional<ApiError> find_stranger(const JobGroup& group, const Scheduler& scheduler) {
    for (const std::string& job : group.jobs)
        if (scheduler.find(job) == nullptr)
            return ApiError{ApiCode::kInvalidRequest,
                            "jobs: there is no job " + job + ": create it first", "jobs", ""};
    return std::nullopt;
}

json states_of(const JobGroup& group, const Scheduler& scheduler) {
    json states = json::object();
    for (const std::string& job : group.jobs)
        if (const JobCore* core = scheduler.find(job)) states[job] = name_of(core->job().state);
    return {{"states", states}};
}

// Which event a verb is for this job; nothing: there is nothing to do.
std::optional<JobEvent> event_of(const std::string& verb, const JobCore& core) {
    if (verb == "start") return job_event::RunRequested{};
    if (verb == "pause") return job_event::PauseRequested{};
    if (verb == "resume") return job_event::ResumeRequested{};
    if (!core.run()) return std::nullopt;
    return job_event::CancelRequested{core.run()->id};
}

json ask_job(const std::string& job, const std::string& verb, JobService::Session& session) {
    const JobCore* core = session.scheduler().find(job);
    const auto event = event_of(verb, *core);
    const std::uint64_t run_before = core->job().active_run;
    const JobAnswer answer = event ? session.step(job, *event) : JobAnswer::kUnchanged;
    core = session.scheduler().find(job);
    if (core == nullptr)  // what was stopped was all that kept it
        return {{"job", job},
                {"changed", true},
                {"state", "Deleted"},
                {"run", nullptr},
                {"error", nullptr}};
    const std::uint64_t run = verb == "cancel" ? run_before : core->job().active_run;
    json result{{"job", job},
                {"changed", answer == JobAnswer::kDone},
                {"state", name_of(core->job().state)},
                {"run", run == 0 ? json(nullptr) : json(run)},
                {"error", nullptr}};
    if (answer != JobAnswer::kDone && answer != JobAnswer::kUnchanged)
        result["error"] = json_of(refused(answer, *core).error());
    return result;
}

}  // namespace

Result<std::vector<JobGroup>> Api::groups() {
    Result<std::vector<JobGroup>> all = std::vector<JobGroup>{};
    service_.look([&](const Scheduler&, Store& store) { all = store.groups(); });
    return all;
}

Api::Answered Api::list_groups(const HttpRequest&, const ApiCall& call) {
    const auto all = groups();
    if (!all) return not_stored(all.error());
    return named_page(*all, "groups", call);
}

Api::Answered Api::show_group(const HttpRequest&, const ApiCall& call) {
    const auto all = groups();
    if (!all) return not_stored(all.error());
    const JobGroup* found = find_named(*all, call.word("name"));
    if (found == nullptr) return none_named("group", call.word("name"));
    return json_answer(json_of(*found));
}

Api::Changed Api::save_group(const JobGroup& wanted, const JobGroup* before, std::size_t count,
                             JobService::Session& session) {
    if (auto stranger = find_stranger(wanted, session.scheduler()))
        return std::unexpected(std::move(*stranger));
    if (before == nullptr && count >= kNamedMax)
        return refused(ApiCode::kLimitReached, "there are " + std::to_string(kNamedMax) +
                                                   " groups, as many as there may be");
    Change change{.object = "group " + wanted.name, .after = json_of(wanted)};
    change.changed = before == nullptr || *before != wanted;
    if (before != nullptr) change.before = json_of(*before);
    if (change.changed) {
        if (const Status saved = session.store().save(wanted); !saved)
            return not_stored(saved.error());
        session.tell(before == nullptr ? "group.created" : "group.changed", change.after);
    }
    change.answer = json_answer({{"changed", change.changed}, {"group", change.after}},
                                before == nullptr ? 201 : 200);
    return change;
}

Api::Changed Api::put_group(const HttpRequest&, const ApiCall& call, JobService::Session& session) {
    json given = call.body;
    given["name"] = call.word("name");
    const auto all = session.store().groups();
    if (!all) return not_stored(all.error());
    return save_group(group_of(given), find_named(*all, call.word("name")), all->size(), session);
}

Api::Changed Api::patch_group(const HttpRequest&, const ApiCall& call,
                              JobService::Session& session) {
    const auto all = session.store().groups();
    if (!all) return not_stored(all.error());
    const JobGroup* before = find_named(*all, call.word("name"));
    if (before == nullptr) return none_named("group", call.word("name"));
    JobGroup wanted = *before;
    wanted.description = call.body.value("description", wanted.description);
    for (const json& job : call.body.value("remove", json::array()))
        wanted.jobs.erase(job.get<std::string>());
    for (const json& job : call.body.value("add", json::array()))
        wanted.jobs.insert(job.get<std::string>());
    return save_group(wanted, before, all->size(), session);
}

Api::Changed Api::delete_group(const HttpRequest&, const ApiCall& call,
                               JobService::Session& session) {
    const std::string name = call.word("name");
    const auto all = session.store().groups();
    if (!all) return not_stored(all.error());
    const JobGroup* before = find_named(*all, name);
    if (before == nullptr) return none_named("group", name);
    if (const Status done = session.store().drop_group(name); !done)
        return not_stored(done.error());
    Change change{.object = "group " + name, .before = json_of(*before), .changed = true};
    session.tell("group.deleted", change.before);
    change.answer = json_answer({{"changed", true}, {"group", change.before}});
    return change;
}

Api::Changed Api::ask_group(const HttpRequest&, const ApiCall& call, JobService::Session& session) {
    const std::string name = call.word("name");
    const auto all = session.store().groups();
    if (!all) return not_stored(all.error());
    const JobGroup* group = find_named(*all, name);
    if (group == nullptr) return none_named("group", name);
    const std::string verb = call.operation.substr(0, call.operation.find('_'));
    Change change{.object = "group " + name, .before = states_of(*group, session.scheduler())};
    json results = json::array();
    std::size_t refusals = 0;
    for (const std::string& job : group->jobs) {
        results.push_back(ask_job(job, verb, session));
        change.changed |= results.back().at("changed").get<bool>();
        refusals += results.back().at("error").is_null() ? 0 : 1;
    }
    change.after = {{"results", results}};
    change.answer = json_answer({{"group", name},
                                 {"verb", verb},
                                 {"changed", change.changed},
                                 {"refused", refusals},
                                 {"results", results}});
    return change;
}

}  // namespace towline
