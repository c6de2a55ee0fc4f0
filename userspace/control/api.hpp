// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <map>

#include <nlohmann/json.hpp>

#include "userspace/control/api_routes.hpp"
#include "userspace/control/job_service.hpp"

namespace towline {

// Answers requests: who may, what is asked, what is wrong with it; then one handler an operation.
// Called from many threads.
class Api {
  public:
    Api(JobService& service, std::string version);

    HttpAnswer answer(const HttpRequest& request);

  private:
    using Answered = std::expected<HttpAnswer, ApiError>;
    // A request that looks.
    using Reader = Answered (Api::*)(const HttpRequest&, const ApiCall&);
    // A request that changes something, within a session.
    struct Change {
        HttpAnswer answer;
        std::string object;  // what was changed, for the audit
        nlohmann::json before;
        nlohmann::json after;
        bool changed = false;
    };
    using Changed = std::expected<Change, ApiError>;
    using Writer = Changed (Api::*)(const HttpRequest&, const ApiCall&, JobService::Session&);
    // What a writer needs to know of the host, put into the call before the lock is taken: a disk
    // that answers slowly keeps nobody else waiting.
    using Looker = std::expected<nlohmann::json, ApiError> (Api::*)(const ApiCall&);

    HttpAnswer change(const HttpRequest& request, const ApiCall& call, Writer writer);
    Status change_once(const HttpRequest& request, const ApiCall& call, Writer writer,
                       JobService::Session& session, HttpAnswer& answer);

    // api_system.cpp
    Answered show_meta(const HttpRequest&, const ApiCall&);
    Answered show_openapi(const HttpRequest&, const ApiCall&);
    Answered show_metrics(const HttpRequest&, const ApiCall&);
    Answered follow_events(const HttpRequest&, const ApiCall&);
    Answered list_audit(const HttpRequest&, const ApiCall&);
    // api_jobs.cpp
    Answered list_jobs(const HttpRequest&, const ApiCall&);
    Answered show_job(const HttpRequest&, const ApiCall&);
    Answered preflight_job(const HttpRequest&, const ApiCall&);
    Changed put_job(const HttpRequest&, const ApiCall&, JobService::Session&);
    Changed patch_job(const HttpRequest&, const ApiCall&, JobService::Session&);
    Changed delete_job(const HttpRequest&, const ApiCall&, JobService::Session&);
    Changed pause_job(const HttpRequest&, const ApiCall&, JobService::Session&);
    Changed resume_job(const HttpRequest&, const ApiCall&, JobService::Session&);
    Changed edit_job(const HttpRequest&, const ApiCall&, JobService::Session&, JobEvent event,
                     const JobSpec& shown);
    Changed step_job(const ApiCall&, JobService::Session&, const JobEvent& event);
    // api_volumes.cpp
    std::expected<nlohmann::json, ApiError> look_for_volumes(const ApiCall&);
    std::expected<nlohmann::json, ApiError> look_to_import(const ApiCall&);
    Answered list_volumes(const HttpRequest&, const ApiCall&);
    Changed import_volumes(const HttpRequest&, const ApiCall&, JobService::Session&);
    Changed clear_volumes(const HttpRequest&, const ApiCall&, JobService::Session&);
    // api_points.cpp
    Answered list_vaults(const HttpRequest&, const ApiCall&);
    Answered list_points(const HttpRequest&, const ApiCall&);
    // api_notifications.cpp
    Answered list_notifications(const HttpRequest&, const ApiCall&);
    Answered show_notification(const HttpRequest&, const ApiCall&);
    Answered test_notification(const HttpRequest&, const ApiCall&);
    Changed put_notification(const HttpRequest&, const ApiCall&, JobService::Session&);
    Changed delete_notification(const HttpRequest&, const ApiCall&, JobService::Session&);
    Result<std::vector<Store::Told>> notifications();
    // api_templates.cpp
    Answered list_templates(const HttpRequest&, const ApiCall&);
    Answered show_template(const HttpRequest&, const ApiCall&);
    Changed put_template(const HttpRequest&, const ApiCall&, JobService::Session&);
    Changed delete_template(const HttpRequest&, const ApiCall&, JobService::Session&);
    Result<std::vector<JobTemplate>> templates();
    // An order of a job with what the template that it names says.
    static std::expected<nlohmann::json, ApiError> completed(const nlohmann::json& order, Store&);
    // api_groups.cpp
    Answered list_groups(const HttpRequest&, const ApiCall&);
    Answered show_group(const HttpRequest&, const ApiCall&);
    Changed put_group(const HttpRequest&, const ApiCall&, JobService::Session&);
    Changed patch_group(const HttpRequest&, const ApiCall&, JobService::Session&);
    Changed delete_group(const HttpRequest&, const ApiCall&, JobService::Session&);
    Changed ask_group(const HttpRequest&, const ApiCall&, JobService::Session&);
    Result<std::vector<JobGroup>> groups();
    // api_named.hpp: of templates and groups
    template <typename T>
    static Changed save_named(const std::string& what, const T& wanted, const T* before,
                              std::size_t count, const ApiCall&, JobService::Session&);
    template <typename T>
    static Changed drop_named(const std::string& what, const T& there,
                              Status (Store::*drop)(const std::string&), const ApiCall&,
                              JobService::Session&);
    // api_runs.cpp
    Answered list_runs(const HttpRequest&, const ApiCall&);
    Answered list_job_runs(const HttpRequest&, const ApiCall&);
    Answered show_run(const HttpRequest&, const ApiCall&);
    Changed start_run(const HttpRequest&, const ApiCall&, JobService::Session&);
    Changed cancel_run(const HttpRequest&, const ApiCall&, JobService::Session&);
    Answered run_page(const Store::RunFilter& filter, const ApiCall&);

    JobService& service_;
    const std::string version_;
    const ApiRoutes routes_;
    std::map<std::string, Reader> readers_;
    std::map<std::string, Writer> writers_;
    std::map<std::string, Looker> lookers_;
    std::atomic<unsigned> importing_ = 0;  // imports that look at the host now
};

// Shared by the handlers.
HttpAnswer json_answer(const nlohmann::json& body, int status = 200);
nlohmann::json shown(const JobCore& core, WallTime now);
std::unexpected<ApiError> refused(ApiCode code, std::string message, std::string field = "");
std::unexpected<ApiError> not_stored(const Error& error);
// What a job answered when it did not do what was asked; only of those.
std::unexpected<ApiError> refused(JobAnswer answer, const JobCore& core);
std::string_view name_of(Role role);

}  // namespace towline
