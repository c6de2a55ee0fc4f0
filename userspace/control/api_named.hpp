// SPDX-License-Identifier: Apache-2.0
#pragma once

// Shared by the handlers of what has a name: what a request says of what should be there, and, for
// what is few (templates, groups), all that is the same for each kind.

#include <algorithm>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "userspace/control/api.hpp"

namespace towline {

constexpr std::size_t kNamedMax = 200;
constexpr std::size_t kNamedPage = 50;

// If-Match: "*", or the tag of GET with or without its quotes. `tag` is empty where there is none.
bool matches(const HttpRequest& request, const std::string& tag);
// Of what has no revision: a digest of what it is. Who sends it back has seen just this.
std::string tag_of(const nlohmann::json& document);

template <typename T>
const T* find_named(const std::vector<T>& all, const std::string& name) {
    const auto found = std::ranges::find(all, name, &T::name);
    return found == all.end() ? nullptr : &*found;
}

inline std::unexpected<ApiError> none_named(const std::string& what, const std::string& name) {
    return refused(ApiCode::kNotFound, "there is no " + what + " " + name, "name");
}

// `tag` is empty where there is none.
std::optional<ApiError> find_mismatch(const HttpRequest& request, const std::string& what,
                                      const std::string& name, const std::string& tag);

// `there` is nullptr where there is none.
template <typename T>
std::optional<ApiError> find_mismatch(const HttpRequest& request, const std::string& what,
                                      const T* there) {
    if (there == nullptr) return find_mismatch(request, what, "", "");
    return find_mismatch(request, what, there->name, tag_of(json_of(*there)));
}

// One of them, with its ETag.
template <typename T>
HttpAnswer named_answer(const T& one) {
    const nlohmann::json document = json_of(one);
    HttpAnswer answer = json_answer(document);
    answer.headers["ETag"] = "\"" + tag_of(document) + "\"";
    return answer;
}

// Of what is sorted by name: {key: […], "next"}.
template <typename T>
HttpAnswer named_page(const std::vector<T>& all, const char* key, const ApiCall& call) {
    const std::string cursor = call.word("cursor");
    const std::size_t limit = call.number("limit").value_or(kNamedPage);
    nlohmann::json page = nlohmann::json::array();
    nlohmann::json next = nullptr;
    for (const T& each : all) {
        if (each.name <= cursor) continue;
        if (page.size() == limit) {
            next = page.back().at("name");
            break;
        }
        page.push_back(json_of(each));
    }
    return json_answer({{key, page}, {"next", next}});
}

// `before` is nullptr where it is new; `count` is how many there are.
template <typename T>
Api::Changed Api::save_named(const std::string& what, const T& wanted, const T* before,
                             std::size_t count, const ApiCall& call, JobService::Session& session) {
    if (before == nullptr && count >= kNamedMax)
        return refused(ApiCode::kLimitReached, "there are " + std::to_string(kNamedMax) + " " +
                                                   what + "s, as many as there may be");
    const bool dry_run = call.flag("dry_run");
    const bool differs = before == nullptr || *before != wanted;
    Change change{.object = what + " " + wanted.name, .after = json_of(wanted)};
    if (before != nullptr) change.before = json_of(*before);
    change.changed = differs && !dry_run;
    if (change.changed) {
        if (const Status saved = session.store().save(wanted); !saved)
            return not_stored(saved.error());
        session.tell(what + (before == nullptr ? ".created" : ".changed"), change.after);
    }
    change.answer = json_answer({{"changed", differs}, {"dry_run", dry_run}, {what, change.after}},
                                before == nullptr && !dry_run ? 201 : 200);
    change.answer.headers["ETag"] = "\"" + tag_of(change.after) + "\"";
    return change;
}

template <typename T>
Api::Changed Api::drop_named(const std::string& what, const T& there,
                             Status (Store::*drop)(const std::string&), const ApiCall& call,
                             JobService::Session& session) {
    const bool dry_run = call.flag("dry_run");
    Change change{.object = what + " " + there.name, .before = json_of(there), .changed = !dry_run};
    if (!dry_run) {
        if (const Status done = (session.store().*drop)(there.name); !done)
            return not_stored(done.error());
        session.tell(what + ".deleted", change.before);
    }
    change.answer = json_answer({{"changed", true}, {"dry_run", dry_run}, {what, change.before}});
    return change;
}

}  // namespace towline
