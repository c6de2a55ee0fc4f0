// SPDX-License-Identifier: Apache-2.0
// Whom the daemon tells. A secret goes in and is never shown again.

#include <algorithm>

#include "userspace/control/api.hpp"
#include "userspace/control/notifier.hpp"

namespace towline {

using nlohmann::json;

namespace {

constexpr std::size_t kNotificationsMax = 32;

const Store::Told* find(const std::vector<Store::Told>& all, const std::string& name) {
    const auto found = std::ranges::find(
        all, name, [](const Store::Told& each) { return each.notification.name; });
    return found == all.end() ? nullptr : &*found;
}

std::unexpected<ApiError> no_notification(const std::string& name) {
    return refused(ApiCode::kNotFound, "there is no notification " + name, "name");
}

json shown_form(const Store::Told& told) {
    json value = json_of(told.notification);
    value["told"] = told.sequence;
    return value;
}

}  // namespace

Result<std::vector<Store::Told>> Api::notifications() {
    Result<std::vector<Store::Told>> all = std::vector<Store::Told>{};
    service_.look([&](const Scheduler&, Store& store) { all = store.notifications(); });
    return all;
}

Api::Answered Api::list_notifications(const HttpRequest&, const ApiCall&) {
    const auto all = notifications();
    if (!all) return not_stored(all.error());
    json list = json::array();
    for (const Store::Told& each : *all)
        list.push_back(shown_form(each));
    return json_answer({{"notifications", list}});
}

Api::Answered Api::show_notification(const HttpRequest&, const ApiCall& call) {
    const auto all = notifications();
    if (!all) return not_stored(all.error());
    const Store::Told* told = find(*all, call.word("name"));
    if (told == nullptr) return no_notification(call.word("name"));
    return json_answer(shown_form(*told));
}

// What happens from now on is told, nothing of before.
Api::Changed Api::put_notification(const HttpRequest&, const ApiCall& call,
                                   JobService::Session& session) {
    json given = call.body;
    given["name"] = call.word("name");
    auto wanted = notification_of(given);
    if (!wanted)
        return refused(ApiCode::kInvalidRequest,
                       wanted.error().field + ": " + wanted.error().message, wanted.error().field);
    const auto all = session.store().notifications();
    if (!all) return not_stored(all.error());
    const Store::Told* before = find(*all, wanted->name);
    if (before == nullptr && all->size() >= kNotificationsMax)
        return refused(ApiCode::kLimitReached, "there are " + std::to_string(kNotificationsMax) +
                                                   " notifications, as many as there may be");
    const auto newest = session.store().newest_event();
    if (!newest) return not_stored(newest.error());
    Change change{.object = "notification " + wanted->name};
    change.changed = before == nullptr || before->notification != *wanted;
    Store::Told after{.notification = std::move(*wanted),
                      .sequence = before == nullptr ? *newest : before->sequence};
    if (const Status saved = session.store().save(after); !saved) return not_stored(saved.error());
    if (before != nullptr) change.before = shown_form(*before);
    change.after = shown_form(after);
    change.answer = json_answer({{"changed", change.changed}, {"notification", change.after}},
                                before == nullptr ? 201 : 200);
    return change;
}

Api::Changed Api::delete_notification(const HttpRequest&, const ApiCall& call,
                                      JobService::Session& session) {
    const std::string name = call.word("name");
    const auto all = session.store().notifications();
    if (!all) return not_stored(all.error());
    const Store::Told* before = find(*all, name);
    if (before == nullptr) return no_notification(name);
    if (const Status done = session.store().drop_notification(name); !done)
        return not_stored(done.error());
    Change change{.object = "notification " + name, .before = shown_form(*before)};
    change.changed = true;
    change.answer = json_answer({{"changed", true}, {"notification", change.before}});
    return change;
}

// Outside of the lock: a receiver may take its time.
Api::Answered Api::test_notification(const HttpRequest&, const ApiCall& call) {
    const auto all = notifications();
    if (!all) return not_stored(all.error());
    const Store::Told* told = find(*all, call.word("name"));
    if (told == nullptr) return no_notification(call.word("name"));
    const Status done =
        Notifier::tell(told->notification, {.at = clocks_now().wall, .type = "notification.test"});
    return json_answer({{"told", done.has_value()},
                        {"message", done ? json(nullptr) : json(done.error().text())}});
}

}  // namespace towline
