// SPDX-License-Identifier: Apache-2.0
#pragma once

// Shared by the handlers of what has a name and is few: templates, groups.

#include <algorithm>
#include <string>
#include <vector>

#include "userspace/control/api.hpp"

namespace towline {

constexpr std::size_t kNamedMax = 200;
constexpr std::size_t kNamedPage = 50;

template <typename T>
const T* find_named(const std::vector<T>& all, const std::string& name) {
    const auto found = std::ranges::find(all, name, &T::name);
    return found == all.end() ? nullptr : &*found;
}

inline std::unexpected<ApiError> none_named(const char* what, const std::string& name) {
    return refused(ApiCode::kNotFound, std::string("there is no ") + what + " " + name, "name");
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

}  // namespace towline
