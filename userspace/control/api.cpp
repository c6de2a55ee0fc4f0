// SPDX-License-Identifier: Apache-2.0
// In this order, so that nothing has an effect that should not: the route, the role, the form of
// all that was given; then, under the lock and in one transaction, the kept answer of a repeated
// request, the change, its audit record and the answer that is kept.

#include "userspace/control/api.hpp"

#include "io/check.hpp"

namespace towline {

using nlohmann::json;

namespace {

std::string dumped(const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

// What must be the same again for a key to be the same request's.
std::string request_text(const HttpRequest& request, const ApiCall& call) {
    json words = call.words;
    return request.method + " " + request.path + " " + dumped(words) + " " + dumped(call.body);
}

std::string header_of(const HttpRequest& request, const char* name) {
    const auto found = request.headers.find(name);
    return found == request.headers.end() ? "" : found->second;
}

}  // namespace

std::string_view name_of(Role role) {
    switch (role) {
        case Role::kViewer:
            return "viewer";
        case Role::kOperator:
            return "operator";
        case Role::kAdmin:
            break;
    }
    return "admin";
}

HttpAnswer json_answer(const json& body, int status) {
    HttpAnswer answer;
    answer.status = status;
    answer.body = dumped(body) + "\n";
    return answer;
}

std::unexpected<ApiError> refused(ApiCode code, std::string message, std::string field) {
    return std::unexpected(ApiError{code, std::move(message), std::move(field), ""});
}

std::unexpected<ApiError> not_stored(const Error& error) {
    return std::unexpected(ApiError{ApiCode::kStateNotSaved,
                                    "the daemon's state could not be read or written: try again, "
                                    "and look at the space and health of its state folder",
                                    "", error.text()});
}

std::unexpected<ApiError> refused(JobAnswer answer, const JobCore& core) {
    const std::string job = "job " + core.job().spec.name;
    const std::string run = core.run() ? std::to_string(core.run()->id) : "";
    switch (answer) {
        case JobAnswer::kRunActive:
            return refused(ApiCode::kRunActive,
                           job + " has run " + run + " going on: wait for it or cancel it");
        case JobAnswer::kNoSuchRun:
            return refused(ApiCode::kRunEnded, "the run has ended");
        case JobAnswer::kQuotaExceeded:
            return refused(ApiCode::kQuotaExceeded,
                           job + " had its " + std::to_string(core.job().spec.on_demand_per_day) +
                               " runs on demand of 24 h (on_demand_per_day)");
        case JobAnswer::kPaused:
            return refused(ApiCode::kJobPaused,
                           job + " is " + std::string(name_of(core.job().state)) + ": resume it");
        case JobAnswer::kDeleting:
            return refused(ApiCode::kJobDeleting,
                           job + " is being deleted: try again when its run has stopped");
        case JobAnswer::kEnded:
            return refused(ApiCode::kJobEnded, job +
                                                   " is a one-time job that has come to its end "
                                                   "(" +
                                                   std::string(name_of(core.job().state)) + ")");
        case JobAnswer::kDone:
        case JobAnswer::kUnchanged:
            break;
    }
    check_failed("a refusal that is none", __FILE__, __LINE__);
}

Api::Api(JobService& service, std::string version)
    : service_(service), version_(std::move(version)) {
    readers_ = {{"show_meta", &Api::show_meta},
                {"show_openapi", &Api::show_openapi},
                {"show_metrics", &Api::show_metrics},
                {"follow_events", &Api::follow_events},
                {"list_audit", &Api::list_audit},
                {"list_jobs", &Api::list_jobs},
                {"show_job", &Api::show_job},
                {"list_runs", &Api::list_runs},
                {"list_job_runs", &Api::list_job_runs},
                {"show_run", &Api::show_run},
                {"list_volumes", &Api::list_volumes},
                {"preflight_job", &Api::preflight_job},
                {"list_vaults", &Api::list_vaults},
                {"list_points", &Api::list_points},
                {"list_notifications", &Api::list_notifications},
                {"show_notification", &Api::show_notification},
                {"test_notification", &Api::test_notification},
                {"list_templates", &Api::list_templates},
                {"show_template", &Api::show_template},
                {"list_groups", &Api::list_groups},
                {"show_group", &Api::show_group}};
    writers_ = {{"put_job", &Api::put_job},
                {"patch_job", &Api::patch_job},
                {"delete_job", &Api::delete_job},
                {"pause_job", &Api::pause_job},
                {"resume_job", &Api::resume_job},
                {"start_run", &Api::start_run},
                {"cancel_run", &Api::cancel_run},
                {"import_volumes", &Api::import_volumes},
                {"clear_volumes", &Api::clear_volumes},
                {"put_notification", &Api::put_notification},
                {"delete_notification", &Api::delete_notification},
                {"put_template", &Api::put_template},
                {"delete_template", &Api::delete_template},
                {"put_group", &Api::put_group},
                {"patch_group", &Api::patch_group},
                {"delete_group", &Api::delete_group},
                {"start_group", &Api::ask_group},
                {"pause_group", &Api::ask_group},
                {"resume_group", &Api::ask_group},
                {"cancel_group", &Api::ask_group}};
    lookers_ = {{"import_volumes", &Api::look_to_import}};
    // The document and the code name the same operations.
    const std::vector<std::string> operations = routes_.operations();
    CHECK(operations.size() == readers_.size() + writers_.size());
    for (const std::string& each : operations)
        CHECK(readers_.contains(each) || writers_.contains(each));
}

HttpAnswer Api::answer(const HttpRequest& request) {
    auto call = routes_.route(request);
    if (!call) return answer_of(call.error());
    if (!request.peer.role || *request.peer.role < call->role) {
        const std::string role(name_of(call->role));
        return answer_of(
            {ApiCode::kForbidden,
             "this needs the role " + role + "; uid " + std::to_string(request.peer.uid) + " has " +
                 (request.peer.role ? std::string(name_of(*request.peer.role)) : "none") +
                 " (towlined's configuration, [roles])",
             "", ""});
    }
    if (const auto checked = routes_.check(request, *call); !checked)
        return answer_of(checked.error());
    if (const auto looker = lookers_.find(call->operation); looker != lookers_.end()) {
        auto seen = (this->*looker->second)(*call);
        if (!seen) return answer_of(seen.error());
        call->looked_up = std::move(*seen);
    }
    if (const auto writer = writers_.find(call->operation); writer != writers_.end())
        return change(request, *call, writer->second);
    const auto answered = (this->*readers_.at(call->operation))(request, *call);
    return answered ? *answered : answer_of(answered.error());
}

HttpAnswer Api::change(const HttpRequest& request, const ApiCall& call, Writer writer) {
    HttpAnswer answer;
    const Status done = service_.change([&](JobService::Session& session) {
        return change_once(request, call, writer, session, answer);
    });
    return done ? answer : answer_of(not_stored(done.error()).error());
}

Status Api::change_once(const HttpRequest& request, const ApiCall& call, Writer writer,
                        JobService::Session& session, HttpAnswer& answer) {
    const std::string key = header_of(request, "idempotency-key");
    const std::string text = request_text(request, call);
    const WallTime now = session.now().wall;
    Store& store = session.store();
    if (!key.empty()) {
        const auto kept =
            TRY(store.answer(request.peer.uid, key, now, service_.config().keep.answers));
        if (kept && kept->request != text) {
            answer =
                answer_of({ApiCode::kKeyReused,
                           "the key was given with another request within 24 h: take a new one",
                           "Idempotency-Key", ""});
            return {};
        }
        if (kept) {
            answer.status = kept->status;
            answer.body = kept->body;
            if (!kept->etag.empty()) answer.headers["ETag"] = kept->etag;
            return {};
        }
    }
    auto changed = (this->*writer)(request, call, session);
    if (!changed) {
        answer = answer_of(changed.error());
        return {};
    }
    answer = std::move(changed->answer);
    if (changed->changed) {
        TRY_STATUS(store.append(AuditRecord{.at = now,
                                            .uid = request.peer.uid,
                                            .pid = request.peer.pid,
                                            .role = std::string(name_of(*request.peer.role)),
                                            .operation = call.operation,
                                            .object = changed->object,
                                            .before = std::move(changed->before),
                                            .after = std::move(changed->after)}));
    }
    if (key.empty()) return {};
    const auto etag = answer.headers.find("ETag");
    return store.keep_answer(
        request.peer.uid, key,
        {text, answer.status, answer.body, etag == answer.headers.end() ? "" : etag->second}, now);
}

}  // namespace towline
