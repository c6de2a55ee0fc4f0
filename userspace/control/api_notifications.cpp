// SPDX-License-Identifier: Apache-2.0
// Whom the daemon tells. A secret goes in and is never shown again, nor is anything made from it:
// the tag that an If-Match is held against is of what is shown, and of a word that is drawn at each
// change. What was told meanwhile changes no tag.

#include <algorithm>

#include "io/uuid.hpp"
#include "userspace/control/api_named.hpp"
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

std::string tag_of(const Store::Told& told) {
    return towline::tag_of(
        json{{"notification", json_of(told.notification)}, {"version", told.version}});
}

std::optional<ApiError> find_other(const HttpRequest& request, const std::string& name,
                                   const Store::Told* there) {
    return towline::find_mismatch(request, "notification", name,
                                  there == nullptr ? "" : tag_of(*there));
}

void set_tag(HttpAnswer& answer, const Store::Told& told) {
    answer.headers["ETag"] = "\"" + tag_of(told) + "\"";
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
    if (told == nullptr) return none_named("notification", call.word("name"));
    HttpAnswer answer = json_answer(shown_form(*told));
    set_tag(answer, *told);
    return answer;
}

// What happens from now on is told, nothing of before.
Api::Changed Api::put_notification(const HttpRequest& request, const ApiCall& call,
                                   JobService::Session& session) {
    const auto all = session.store().notifications();
    if (!all) return not_stored(all.error());
    const Store::Told* before = find(*all, call.word("name"));
    if (auto other = find_other(request, call.word("name"), before)) return std::unexpected(*other);
    json given = call.body;
    given["name"] = call.word("name");
    auto wanted = notification_of(given);
    if (!wanted)
        return refused(ApiCode::kInvalidRequest,
                       wanted.error().field + ": " + wanted.error().message, wanted.error().field);
    if (before == nullptr && all->size() >= kNotificationsMax)
        return refused(ApiCode::kLimitReached, "there are " + std::to_string(kNotificationsMax) +
                                                   " notifications, as many as there may be");
    const auto newest = session.store().newest_event();
    if (!newest) return not_stored(newest.error());
    const bool dry_run = call.flag("dry_run");
    const bool differs = before == nullptr || before->notification != *wanted;
    Store::Told after{.notification = std::move(*wanted),
                      .sequence = before == nullptr ? *newest : before->sequence,
                      .version = differs ? Uuid::random().text() : before->version};
    Change change{.object = "notification " + after.notification.name, .after = shown_form(after)};
    if (before != nullptr) change.before = shown_form(*before);
    change.changed = differs && !dry_run;
    if (change.changed)
        if (const Status saved = session.store().save(after); !saved)
            return not_stored(saved.error());
    change.answer =
        json_answer({{"changed", differs}, {"dry_run", dry_run}, {"notification", change.after}},
                    before == nullptr && !dry_run ? 201 : 200);
    // What it would be has none: the word for it is drawn when it is.
    if (!dry_run || !differs) set_tag(change.answer, after);
    return change;
}

Api::Changed Api::delete_notification(const HttpRequest& request, const ApiCall& call,
                                      JobService::Session& session) {
    const std::string name = call.word("name");
    const auto all = session.store().notifications();
    if (!all) return not_stored(all.error());
    const Store::Told* before = find(*all, name);
    if (before == nullptr) return none_named("notification", name);
    if (auto other = find_other(request, name, before)) return std::unexpected(*other);
    Change change{.object = "notification " + name, .before = shown_form(*before)};
    change.changed = !call.flag("dry_run");
    if (change.changed)
        if (const Status done = session.store().drop_notification(name); !done)
            return not_stored(done.error());
    change.answer = json_answer(
        {{"changed", true}, {"dry_run", call.flag("dry_run")}, {"notification", change.before}});
    return change;
}

// Outside of the lock: a receiver may take its time.
Api::Answered Api::test_notification(const HttpRequest&, const ApiCall& call) {
    const auto all = notifications();
    if (!all) return not_stored(all.error());
    const Store::Told* told = find(*all, call.word("name"));
    if (told == nullptr) return none_named("notification", call.word("name"));
    const Status done =
        Notifier::tell(told->notification, {.at = clocks_now().wall, .type = "notification.test"});
    return json_answer({{"told", done.has_value()},
                        {"message", done ? json(nullptr) : json(done.error().text())}});
}

}  // namespace towline
