// SPDX-License-Identifier: Apache-2.0
// Nothing here knows an operation by name: what api.json does not say cannot be asked for.

#include "userspace/control/api_routes.hpp"

#include <algorithm>
#include <charconv>

#include "io/check.hpp"

namespace towline {

using nlohmann::json;

namespace {

// api.json as a raw string (CMake writes it out).
constexpr std::string_view kDocument =
#include "userspace/control/api_json.inc"
    ;

constexpr int kDepthMax = 16;

std::unexpected<ApiError> wrong(ApiCode code, const std::string& message,
                                const std::string& field = "") {
    return std::unexpected(ApiError{code, message, field, ""});
}

std::vector<std::string> split_path(const std::string& path) {
    std::vector<std::string> parts;
    std::size_t at = 1;
    while (at <= path.size()) {
        const std::size_t end = std::min(path.find('/', at), path.size());
        parts.push_back(path.substr(at, end - at));
        at = end + 1;
    }
    return parts;
}

bool is_word(const std::string& part) {
    return part.starts_with('{');
}

bool path_fits(const std::vector<std::string>& route, const std::vector<std::string>& path) {
    return route.size() == path.size() &&
           std::equal(route.begin(), route.end(), path.begin(),
                      [](const std::string& mine, const std::string& theirs) {
                          return is_word(mine) ? !theirs.empty() : mine == theirs;
                      });
}

// A word of path, query or header as the type that its schema has.
json value_of(const std::string& text, const json& schema) {
    const json& type = schema.value("type", json("string"));
    if (type == "integer") {
        std::uint64_t number = 0;
        const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
        if (read.ec == std::errc{} && read.ptr == text.data() + text.size()) return number;
    }
    if (type == "boolean" && text == "true") return true;
    if (type == "boolean" && text == "false") return false;
    return text;
}

std::string lower(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return text;
}

// JSON that is nested deeper than anything the schema has is refused while it is read.
json parse_bounded(const std::string& text, bool& too_deep) {
    return json::parse(
        text,
        [&](int depth, json::parse_event_t, json&) {
            too_deep |= depth > kDepthMax;
            return depth <= kDepthMax;
        },
        false);
}

}  // namespace

std::string ApiCall::word(const std::string& name) const {
    const auto found = words.find(name);
    return found == words.end() ? "" : found->second;
}

std::optional<std::uint64_t> ApiCall::number(const std::string& name) const {
    const std::string text = word(name);
    if (text.empty()) return std::nullopt;
    return std::stoull(text);  // the schema has said that it is one
}

ApiRoutes::ApiRoutes() : text_(kDocument), document_(json::parse(text_)), schema_(document_) {
    for (const auto& [name, each] : document_.at("components").at("schemas").items())
        CHECK(schema_.understands(each));
    for (const auto& [path, item] : document_.at("paths").items()) {
        for (const auto& [method, operation] : item.items()) {
            if (method == "parameters") continue;
            std::string upper = method;
            std::transform(upper.begin(), upper.end(), upper.begin(), ::toupper);
            Route route{.method = upper, .path = split_path(path), .operation = &operation};
            for (const json* from : {&item, &operation}) {
                const auto parameters = from->find("parameters");
                if (parameters == from->end()) continue;
                for (const json& parameter : *parameters)
                    route.parameters.push_back(&schema_.resolve(parameter));
            }
            if (const auto body = operation.find("requestBody"); body != operation.end())
                route.body = &body->at("content").at("application/json").at("schema");
            routes_.push_back(std::move(route));
        }
    }
}

std::vector<std::string> ApiRoutes::operations() const {
    std::vector<std::string> names;
    names.reserve(routes_.size());
    for (const Route& route : routes_)
        names.push_back(route.operation->at("operationId"));
    return names;
}

const json& ApiRoutes::words_of(const std::string& schema) const {
    return document_.at("components").at("schemas").at(schema).at("enum");
}

const ApiRoutes::Route* ApiRoutes::find(const std::string& operation) const {
    for (const Route& route : routes_)
        if (route.operation->at("operationId") == operation) return &route;
    return nullptr;
}

std::expected<ApiCall, ApiError> ApiRoutes::route(const HttpRequest& request) const {
    const std::vector<std::string> path = split_path(request.path);
    std::string allow;
    for (const Route& route : routes_) {
        if (!request.path.starts_with('/') || !path_fits(route.path, path)) continue;
        if (route.method != request.method) {
            allow += (allow.empty() ? "" : ", ") + route.method;
            continue;
        }
        ApiCall call;
        call.operation = route.operation->at("operationId");
        call.changes = request.method != "GET";
        const std::string role = route.operation->at("x-role");
        call.role = role == "viewer"     ? Role::kViewer
                    : role == "operator" ? Role::kOperator
                                         : Role::kAdmin;
        for (std::size_t at = 0; at < path.size(); ++at) {
            const std::string& part = route.path[at];
            if (is_word(part)) call.words[part.substr(1, part.size() - 2)] = path[at];
        }
        return call;
    }
    if (!allow.empty())
        return std::unexpected(
            ApiError{.code = ApiCode::kMethodNotAllowed,
                     .message = request.method + " is not for " + request.path + ", but " + allow,
                     .allow = allow});
    return wrong(ApiCode::kNotFound, "there is no " + request.path + " (/v1/openapi.json)");
}

ApiRoutes::Checked ApiRoutes::check(const HttpRequest& request, ApiCall& call) const {
    const Route* route = find(call.operation);
    CHECK(route != nullptr);
    for (const json* parameter : route->parameters) {
        if (parameter->at("in") != "path") continue;
        const auto checked = check_word(*parameter, call.word(parameter->at("name")));
        if (!checked) return checked;
    }
    if (auto checked = check_query(request, *route, call); !checked) return checked;
    if (auto checked = check_headers(request, *route); !checked) return checked;
    return check_body(request, *route, call);
}

ApiRoutes::Checked ApiRoutes::check_word(const json& parameter, const std::string& text) const {
    const json& schema = schema_.resolve(parameter.at("schema"));
    const auto problem = schema_.check(schema, value_of(text, schema));
    if (!problem) return {};
    const std::string name = parameter.at("name");
    return wrong(ApiCode::kInvalidRequest, name + " " + problem->message, name);
}

ApiRoutes::Checked ApiRoutes::check_query(const HttpRequest& request, const Route& route,
                                          ApiCall& call) const {
    for (const auto& [name, text] : request.query) {
        const auto found = std::find_if(
            route.parameters.begin(), route.parameters.end(), [&](const json* parameter) {
                return parameter->at("in") == "query" && parameter->at("name") == name;
            });
        if (found == route.parameters.end())
            return wrong(ApiCode::kUnknownField, "the query " + name + " is not known here", name);
        if (auto checked = check_word(**found, text); !checked) return checked;
        if (!call.words.try_emplace(name, text).second)
            return wrong(ApiCode::kInvalidRequest, name + " was given twice", name);
    }
    return {};
}

ApiRoutes::Checked ApiRoutes::check_headers(const HttpRequest& request, const Route& route) const {
    for (const json* parameter : route.parameters) {
        if (parameter->at("in") != "header") continue;
        const auto given = request.headers.find(lower(parameter->at("name")));
        if (given == request.headers.end()) continue;
        if (auto checked = check_word(*parameter, given->second); !checked) return checked;
    }
    return {};
}

ApiRoutes::Checked ApiRoutes::check_body(const HttpRequest& request, const Route& route,
                                         ApiCall& call) const {
    if (request.body_too_large) return wrong(ApiCode::kBodyTooLarge, "a body has 64 KiB at most");
    if (route.body == nullptr) {
        const bool empty =
            request.body.find_first_not_of(" \t\r\n") == std::string::npos || request.body == "{}";
        if (empty) return {};
        return wrong(ApiCode::kInvalidRequest, "there is no body to this request");
    }
    const auto type = request.headers.find("content-type");
    if (type != request.headers.end() && !lower(type->second).starts_with("application/json"))
        return wrong(ApiCode::kUnsupportedMediaType,
                     "the body is application/json, not " + type->second, "Content-Type");
    bool too_deep = false;
    call.body = parse_bounded(request.body, too_deep);
    if (too_deep) return wrong(ApiCode::kInvalidRequest, "the body is nested too deeply");
    if (call.body.is_discarded()) return wrong(ApiCode::kInvalidRequest, "the body is no JSON");
    const auto problem = schema_.check(*route.body, call.body);
    if (!problem) return {};
    const bool unknown = problem->kind == SchemaError::Kind::kUnknownField;
    return wrong(unknown ? ApiCode::kUnknownField : ApiCode::kInvalidRequest,
                 (problem->field.empty() ? "the body" : problem->field) + " " + problem->message,
                 problem->field);
}

}  // namespace towline
