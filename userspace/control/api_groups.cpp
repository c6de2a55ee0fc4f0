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
    return named_answer(*found);
}

Api::Changed Api::put_group(const HttpRequest& request, const ApiCall& call,
                            JobService::Session& session) {
    const auto all = session.store().groups();
    if (!all) return not_stored(all.error());
    const JobGroup* before = find_named(*all, call.word("name"));
    if (auto other = find_mismatch(request, "group", before)) return std::unexpected(*other);
    json given = call.body;
    given["name"] = call.word("name");
    const JobGroup wanted = group_of(given);
    if (auto stranger = find_stranger(wanted, session.scheduler()))
        return std::unexpected(*stranger);
    return save_named("group", wanted, before, all->size(), call, session);
}

Api::Changed Api::patch_group(const HttpRequest& request, const ApiCall& call,
                              JobService::Session& session) {
    const auto all = session.store().groups();
    if (!all) return not_stored(all.error());
    const JobGroup* before = find_named(*all, call.word("name"));
    if (before == nullptr) return none_named("group", call.word("name"));
    if (auto other = find_mismatch(request, "group", before)) return std::unexpected(*other);
    JobGroup wanted = *before;
    wanted.description = call.body.value("description", wanted.description);
    for (const json& job : call.body.value("remove", json::array()))
        wanted.jobs.erase(job.get<std::string>());
    for (const json& job : call.body.value("add", json::array()))
        wanted.jobs.insert(job.get<std::string>());
    if (auto stranger = find_stranger(wanted, session.scheduler()))
        return std::unexpected(*stranger);
    return save_named("group", wanted, before, all->size(), call, session);
}

Api::Changed Api::delete_group(const HttpRequest& request, const ApiCall& call,
                               JobService::Session& session) {
    const auto all = session.store().groups();
    if (!all) return not_stored(all.error());
    const JobGroup* before = find_named(*all, call.word("name"));
    if (before == nullptr) return none_named("group", call.word("name"));
    if (auto other = find_mismatch(request, "group", before)) return std::unexpected(*other);
    return drop_named("group", *before, &Store::drop_group, call, session);
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
