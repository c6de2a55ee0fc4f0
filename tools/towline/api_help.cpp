// SPDX-License-Identifier: Apache-2.0
// What an option of a request means is written once, in the API's own description (api.json), and
// read from there when its command is described: those that ask no daemon never read it.

#include "tools/towline/api_help.hpp"

#include <nlohmann/json.hpp>

#include "io/check.hpp"

namespace towline {

using nlohmann::json;

namespace {

// api.json as a raw string (CMake writes it out).
constexpr std::string_view kDocument =
#include "userspace/control/api_json.inc"
    ;

const json& document() {
    static const json parsed = json::parse(kDocument);
    return parsed;
}

const json& resolved(const json& part) {
    const auto reference = part.find("$ref");
    // It is a part of the document, not a temporary.
    // NOLINTNEXTLINE(bugprone-return-const-ref-from-parameter)
    if (reference == part.end()) return part;
    return resolved(document().at(json::json_pointer(reference->get<std::string>().substr(1))));
}

const json& find_operation(std::string_view id) {
    for (const json& path : document().at("paths"))
        for (const json& operation : path)
            if (operation.is_object() && operation.value("operationId", "") == id) return operation;
    check_failed("api.json has no such operation", __FILE__, __LINE__);
}

// Null where there is none.
json field_of_query(const json& operation, std::string_view name) {
    for (const json& each : operation.value("parameters", json::array()))
        if (resolved(each).at("name") == name) return resolved(each);
    return {};
}

// What is said beside a reference is more exact than what it leads to.
std::string description_of(const json& field) {
    return field.contains("description") ? field.at("description").get<std::string>()
                                         : resolved(field).value("description", "");
}

std::string description(const json& operation, const std::string& name) {
    const json query = field_of_query(operation, name);
    if (!query.is_null()) return description_of(query);
    const json* part =
        &operation.at("requestBody").at("content").at("application/json").at("schema");
    for (std::size_t at = 0; at != std::string::npos;) {
        const std::size_t end = name.find('/', at);
        part = &resolved(*part).at("properties").at(name.substr(at, end - at));
        at = end == std::string::npos ? end : end + 1;
    }
    return description_of(*part);
}

}  // namespace

void describe_by_api(CLI::App& command, std::string_view operation,
                     std::initializer_list<ApiField> fields) {
    const json& request = find_operation(operation);
    for (const auto& [option, field] : fields) {
        const std::string text = description(request, field);
        CHECK(!text.empty());
        command.get_option(option)->description(text);
    }
}

}  // namespace towline
