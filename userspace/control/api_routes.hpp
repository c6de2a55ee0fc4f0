// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "userspace/control/api_error.hpp"
#include "userspace/control/json_schema.hpp"

namespace towline {

// A request that is what api.json says: its words of the path, its query and its body, checked.
struct ApiCall {
    std::string operation;
    bool changes = false;                      // it takes an Idempotency-Key
    Role role = Role::kAdmin;                  // at least
    std::map<std::string, std::string> words;  // path and query
    nlohmann::json body;
    nlohmann::json looked_up;  // what was looked up for it, before the lock

    std::string word(const std::string& name) const;  // "" when it was not given
    std::optional<std::uint64_t> number(const std::string& name) const;
    bool flag(const std::string& name) const { return word(name) == "true"; }
};

// api.json, which is compiled in: where requests go, and what they may hold.
class ApiRoutes {
  public:
    ApiRoutes();

    const std::string& text() const { return text_; }
    std::vector<std::string> operations() const;
    // Those that a schema allows.
    const nlohmann::json& words_of(const std::string& schema) const;

    // Which operation a request is, by method and path, and the words of its path; then everything
    // else that it brought is held against the schema.
    std::expected<ApiCall, ApiError> route(const HttpRequest& request) const;
    std::expected<void, ApiError> check(const HttpRequest& request, ApiCall& call) const;

  private:
    struct Route {
        std::string method;
        std::vector<std::string> path;  // "{name}" is a word
        const nlohmann::json* operation;
        std::vector<const nlohmann::json*> parameters;
        const nlohmann::json* body = nullptr;
    };
    using Checked = std::expected<void, ApiError>;

    Checked check_query(const HttpRequest& request, const Route& route, ApiCall& call) const;
    Checked check_headers(const HttpRequest& request, const Route& route) const;
    Checked check_body(const HttpRequest& request, const Route& route, ApiCall& call) const;
    Checked check_word(const nlohmann::json& parameter, const std::string& text) const;
    const Route* find(const std::string& operation) const;

    const std::string text_;
    const nlohmann::json document_;
    const JsonSchema schema_;
    std::vector<Route> routes_;
};

}  // namespace towline
