// SPDX-License-Identifier: Apache-2.0
// Presets of jobs. Who makes a job from one gets what it says at that moment.

#include "userspace/control/api_named.hpp"

namespace towline {

using nlohmann::json;

Result<std::vector<JobTemplate>> Api::templates() {
    Result<std::vector<JobTemplate>> all = std::vector<JobTemplate>{};
    service_.look([&](const Scheduler&, Store& store) { all = store.templates(); });
    return all;
}

Api::Answered Api::list_templates(const HttpRequest&, const ApiCall& call) {
    const auto all = templates();
    if (!all) return not_stored(all.error());
    return named_page(*all, "templates", call);
}

Api::Answered Api::show_template(const HttpRequest&, const ApiCall& call) {
    const auto all = templates();
    if (!all) return not_stored(all.error());
    const JobTemplate* found = find_named(*all, call.word("name"));
    if (found == nullptr) return none_named("template", call.word("name"));
    return named_answer(*found);
}

Api::Changed Api::put_template(const HttpRequest& request, const ApiCall& call,
                               JobService::Session& session) {
    const auto all = session.store().templates();
    if (!all) return not_stored(all.error());
    const JobTemplate* before = find_named(*all, call.word("name"));
    if (auto other = find_mismatch(request, "template", before)) return std::unexpected(*other);
    json given = call.body;
    given["name"] = call.word("name");
    const auto wanted = template_of(given);
    if (!wanted)
        return refused(ApiCode::kInvalidRequest,
                       wanted.error().field + ": " + wanted.error().message, wanted.error().field);
    return save_named("template", *wanted, before, all->size(), call, session);
}

Api::Changed Api::delete_template(const HttpRequest& request, const ApiCall& call,
                                  JobService::Session& session) {
    const auto all = session.store().templates();
    if (!all) return not_stored(all.error());
    const JobTemplate* before = find_named(*all, call.word("name"));
    if (before == nullptr) return none_named("template", call.word("name"));
    if (auto other = find_mismatch(request, "template", before)) return std::unexpected(*other);
    return drop_named("template", *before, &Store::drop_template, call, session);
}

std::expected<json, ApiError> Api::completed(const json& order, Store& store) {
    const auto name = order.find("template");
    if (name == order.end()) return order;
    const auto all = store.templates();
    if (!all) return not_stored(all.error());
    const JobTemplate* found = find_named(*all, name->get<std::string>());
    if (found == nullptr)
        return refused(ApiCode::kInvalidRequest,
                       "template: there is no template " + name->get<std::string>() +
                           " (`towline template list`)",
                       "template");
    return found->complete(order);
}

}  // namespace towline
