// SPDX-License-Identifier: Apache-2.0
// Runs: of the past from the store, of the present with what the executor sees.

#include "userspace/control/api.hpp"
#include "userspace/control/live_numbers.hpp"

namespace towline {

using nlohmann::json;

namespace {

constexpr std::size_t kLimitDefault = 50;

}  // namespace

Api::Answered Api::run_page(const Store::RunFilter& filter, const ApiCall& call) {
    Result<Page<Run>> page = fail(Code::kIo, "");
    service_.look([&](const Scheduler&, Store& store) {
        page =
            store.runs(filter, call.number("cursor"), call.number("limit").value_or(kLimitDefault));
    });
    if (!page) return not_stored(page.error());
    json runs = json::array();
    for (const Run& run : page->items)
        runs.push_back(shown(run, service_));
    return json_answer({{"runs", runs}, {"next", page->next ? json(*page->next) : json(nullptr)}});
}

Api::Answered Api::list_runs(const HttpRequest&, const ApiCall& call) {
    return run_page({.job = "", .state = call.word("state")}, call);
}

Api::Answered Api::list_job_runs(const HttpRequest&, const ApiCall& call) {
    const std::string name = call.word("name");
    bool there = false;
    service_.look(
        [&](const Scheduler& scheduler, Store&) { there = scheduler.find(name) != nullptr; });
    if (!there) return refused(ApiCode::kNotFound, "there is no job " + name, "name");
    return run_page({.job = name, .state = call.word("state")}, call);
}

Api::Answered Api::show_run(const HttpRequest&, const ApiCall& call) {
    const std::uint64_t id = *call.number("id");
    if (const auto span = call.number("wait_seconds"))
        service_.wait_for_end(id, std::chrono::seconds(*span));
    Result<std::optional<Run>> run = fail(Code::kIo, "");
    service_.look([&](const Scheduler&, Store& store) { run = store.run(id); });
    if (!run) return not_stored(run.error());
    if (!*run) return refused(ApiCode::kNotFound, "there is no run " + std::to_string(id), "id");
    return json_answer(shown(**run, service_));
}

Api::Changed Api::start_run(const HttpRequest&, const ApiCall& call, JobService::Session& session) {
    const std::string name = call.word("name");
    if (session.scheduler().find(name) == nullptr)
        return refused(ApiCode::kNotFound, "there is no job " + name, "name");
    const JobAnswer answer = session.step(name, job_event::RunRequested{});
    const JobCore& core = *session.scheduler().find(name);
    if (answer != JobAnswer::kDone) return refused(answer, core);
    Change change{.object = "job " + name, .after = json_of(*core.run()), .changed = true};
    change.answer = json_answer(change.after, 201);
    return change;
}

Api::Changed Api::cancel_run(const HttpRequest&, const ApiCall& call,
                             JobService::Session& session) {
    const std::uint64_t id = *call.number("id");
    auto stored = session.store().run(id);
    if (!stored) return not_stored(stored.error());
    if (!*stored) return refused(ApiCode::kNotFound, "there is no run " + std::to_string(id), "id");
    Run run = **stored;
    const JobCore* core = session.scheduler().find(run.job);
    const bool active = core != nullptr && core->run() && core->run()->id == id;
    if (!active)
        return refused(ApiCode::kRunEnded, "run " + std::to_string(id) + " has ended (" +
                                               std::string(name_of(run.state)) + ")");
    Change change{.object = "run " + std::to_string(id), .before = json_of(run)};
    const JobAnswer answer = session.step(run.job, job_event::CancelRequested{id});
    change.changed = answer == JobAnswer::kDone;
    // It is gone from the job where nothing had to be stopped.
    core = session.scheduler().find(run.job);
    if (core != nullptr && core->run()) {
        run = *core->run();
    } else {
        run.state = RunState::kCancelled;
        run.ended_at = session.now().wall;
        run.paused = false;
    }
    change.after = json_of(run);
    change.answer = json_answer(change.after);
    return change;
}

}  // namespace towline
