// SPDX-License-Identifier: Apache-2.0
// What the daemon says of itself: versions, its API, metrics, events, audit.

#include "userspace/control/api.hpp"
#include "userspace/control/event_stream.hpp"
#include "userspace/control/metrics.hpp"

namespace towline {

using nlohmann::json;

namespace {

constexpr int kApiVersion = 1;
constexpr std::size_t kLimitDefault = 50;

}  // namespace

Api::Answered Api::show_meta(const HttpRequest& request, const ApiCall&) {
    const Scheduler::Limits& limits = service_.config().limits;
    return json_answer({{"name", "towlined"},
                        {"version", version_},
                        {"api", kApiVersion},
                        {"role", name_of(*request.peer.role)},
                        {"uid", request.peer.uid},
                        {"started_at", time_text(service_.started_at())},
                        {"limits", {{"jobs", limits.jobs_max}, {"runs", limits.runs_max}}},
                        {"targets", json::array({"path", "tcp", "unix", "vault"})},
                        // What an order may ask for by name: the words of the document itself.
                        {"trackers", routes_.words_of("Tracker")},
                        {"snapshots", routes_.words_of("Snapshot")}});
}

Api::Answered Api::show_openapi(const HttpRequest&, const ApiCall&) {
    HttpAnswer answer;
    answer.body = routes_.text();
    return answer;
}

Api::Answered Api::show_metrics(const HttpRequest&, const ApiCall&) {
    HttpAnswer answer;
    answer.type = "text/plain; version=0.0.4";
    answer.body = metrics_text(service_, version_);
    return answer;
}

Api::Answered Api::follow_events(const HttpRequest&, const ApiCall& call) {
    std::optional<std::uint64_t> since = call.number("since");
    HttpAnswer answer;
    answer.type = "application/x-ndjson";
    answer.stream = event_stream(
        service_,
        {.since = since, .follow = call.flag("follow"), .progress = call.flag("progress")});
    return answer;
}

Api::Answered Api::list_audit(const HttpRequest&, const ApiCall& call) {
    Result<Page<AuditRecord>> page = fail(Code::kIo, "");
    service_.look([&](const Scheduler&, Store& store) {
        page = store.audit(call.number("cursor"), call.number("limit").value_or(kLimitDefault));
    });
    if (!page) return not_stored(page.error());
    json records = json::array();
    for (const AuditRecord& each : page->items) {
        records.push_back({{"sequence", each.sequence},
                           {"at", time_text(each.at)},
                           {"uid", each.uid},
                           {"pid", each.pid},
                           {"role", each.role},
                           {"operation", each.operation},
                           {"object", each.object},
                           {"before", each.before},
                           {"after", each.after}});
    }
    return json_answer(
        {{"records", records}, {"next", page->next ? json(*page->next) : json(nullptr)}});
}

}  // namespace towline
