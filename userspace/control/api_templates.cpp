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
    return json_answer(json_of(*found));
}

Api::Changed Api::put_template(const HttpRequest&, const ApiCall& call,
                               JobService::Session& session) {
    json given = call.body;
    given["name"] = call.word("name");
    const auto wanted = template_of(given);
    if (!wanted)
        return refused(ApiCode::kInvalidRequest,
                       wanted.error().field + ": " + wanted.error().message, wanted.error().field);
    const auto all = session.store().templates();
    if (!all) return not_stored(all.error());
    const JobTemplate* before = find_named(*all, wanted->name);
    if (before == nullptr && all->size() >= kNamedMax)
        return refused(ApiCode::kLimitReached, "there are " + std::to_string(kNamedMax) +
                                                   " templates, as many as there may be");
    Change change{.object = "template " + wanted->name, .after = json_of(*wanted)};
    change.changed = before == nullptr || *before != *wanted;
    if (before != nullptr) change.before = json_of(*before);
    if (change.changed) {
        if (const Status saved = session.store().save(*wanted); !saved)
            return not_stored(saved.error());
        session.tell(before == nullptr ? "template.created" : "template.changed", change.after);
    }
    change.answer = json_answer({{"changed", change.changed}, {"template", change.after}},
                                before == nullptr ? 201 : 200);
    return change;
}

Api::Changed Api::delete_template(const HttpRequest&, const ApiCall& call,
                                  JobService::Session& session) {
    const std::string name = call.word("name");
    const auto all = session.store().templates();
    if (!all) return not_stored(all.error());
    const JobTemplate* before = find_named(*all, name);
    if (before == nullptr) return none_named("template", name);
    if (const Status done = session.store().drop_template(name); !done)
        return not_stored(done.error());
    Change change{.object = "template " + name, .before = json_of(*before), .changed = true};
    session.tell("template.deleted", change.before);
    change.answer = json_answer({{"changed", true}, {"template", change.before}});
    return change;
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
