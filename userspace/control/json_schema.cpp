// SPDX-License-Identifier: Apache-2.0
// Depth is bounded by the schema's own, not by the value's: a value is looked into only where the
// schema says what is inside.

#include "userspace/control/json_schema.hpp"

#include <algorithm>
#include <array>
#include <regex>

#include <nlohmann/json.hpp>

#include "io/check.hpp"

namespace towline {

using nlohmann::json;

namespace {

constexpr std::array<std::string_view, 18> kWords{
    "$ref",    "type",     "enum",     "properties",    "required",      "additionalProperties",
    "items",   "minItems", "maxItems", "uniqueItems",   "minLength",     "maxLength",
    "pattern", "minimum",  "maximum",  "minProperties", "maxProperties", "description"};

std::optional<SchemaError> wrong(const std::string& field, std::string message) {
    return SchemaError{SchemaError::Kind::kWrong, field, std::move(message)};
}

bool has_type(const json& value, std::string_view type) {
    if (type == "object") return value.is_object();
    if (type == "array") return value.is_array();
    if (type == "string") return value.is_string();
    if (type == "boolean") return value.is_boolean();
    if (type == "null") return value.is_null();
    if (type == "number") return value.is_number();
    // 2.0 is an integer to JSON Schema, and no number that we would store as one.
    if (type == "integer") return value.is_number_integer();
    return false;
}

std::string type_text(const json& type) {
    if (type.is_string()) return type.get<std::string>();
    std::string text;
    for (const json& each : type)
        text += (text.empty() ? "" : " or ") + each.get<std::string>();
    return text;
}

bool type_fits(const json& type, const json& value) {
    if (type.is_string()) return has_type(value, type.get<std::string>());
    return std::any_of(type.begin(), type.end(),
                       [&](const json& each) { return has_type(value, each.get<std::string>()); });
}

std::size_t characters(const std::string& text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::optional<SchemaError> check_string(const json& schema, const std::string& text,
                                        const std::string& field) {
    const std::size_t length = characters(text);
    if (length < schema.value("minLength", std::size_t{0})) return wrong(field, "is too short");
    const std::size_t most = schema.value("maxLength", std::size_t{1} << 20);
    if (length > most)
        return wrong(field, "is longer than " + std::to_string(most) + " characters");
    // After the length: the library's matcher recurses, a level a character.
    if (const auto pattern = schema.find("pattern"); pattern != schema.end()) {
        if (!std::regex_search(text, std::regex(pattern->get<std::string>())))
            return wrong(field, "does not match " + pattern->get<std::string>());
    }
    return std::nullopt;
}

std::optional<SchemaError> check_number(const json& schema, const json& value,
                                        const std::string& field) {
    const auto number = value.get<double>();
    if (const auto least = schema.find("minimum"); least != schema.end())
        if (number < least->get<double>()) return wrong(field, "is less than " + least->dump());
    if (const auto most = schema.find("maximum"); most != schema.end())
        if (!(number <= most->get<double>())) return wrong(field, "is more than " + most->dump());
    return std::nullopt;
}

std::string within(const std::string& field, const std::string& key) {
    return field.empty() ? key : field + "." + key;
}

}  // namespace

const json& JsonSchema::resolve(const json& schema) const {
    const auto reference = schema.find("$ref");
    // It is a part of the document, not a temporary.
    // NOLINTNEXTLINE(bugprone-return-const-ref-from-parameter)
    if (reference == schema.end()) return schema;
    const std::string text = reference->get<std::string>();
    CHECK(text.starts_with("#/"));
    return resolve(document_.at(json::json_pointer(text.substr(1))));
}

std::optional<SchemaError> JsonSchema::check(const json& schema, const json& value) const {
    return check_at(schema, value, "");
}

std::optional<SchemaError> JsonSchema::check_at(const json& schema, const json& value,
                                                const std::string& field) const {
    if (schema.contains("$ref")) return check_at(resolve(schema), value, field);
    if (const auto type = schema.find("type"); type != schema.end()) {
        if (!type_fits(*type, value)) return wrong(field, "is not of type " + type_text(*type));
    }
    if (const auto choices = schema.find("enum"); choices != schema.end()) {
        if (std::find(choices->begin(), choices->end(), value) == choices->end())
            return wrong(field, "is none of " + choices->dump());
    }
    if (value.is_string()) return check_string(schema, value.get_ref<const std::string&>(), field);
    if (value.is_number()) return check_number(schema, value, field);
    if (value.is_object()) return check_object(schema, value, field);
    if (value.is_array()) return check_array(schema, value, field);
    return std::nullopt;
}

JsonSchema::Found JsonSchema::check_object(const json& schema, const json& value,
                                           const std::string& field) const {
    static const json kNone = json::object();
    const auto found = schema.find("properties");
    const json& properties = found == schema.end() ? kNone : *found;
    const bool open = schema.value("additionalProperties", true);
    for (const auto& [key, inner] : value.items()) {
        const auto property = properties.find(key);
        if (property != properties.end()) {
            if (auto problem = check_at(*property, inner, within(field, key))) return problem;
        } else if (!open) {
            return SchemaError{SchemaError::Kind::kUnknownField, within(field, key),
                               "is not known here"};
        }
    }
    for (const json& key : schema.value("required", json::array()))
        if (!value.contains(key.get<std::string>()))
            return wrong(within(field, key.get<std::string>()), "is missing");
    if (value.size() < schema.value("minProperties", std::size_t{0}))
        return wrong(field, "is empty");
    if (value.size() > schema.value("maxProperties", SIZE_MAX))
        return wrong(field, "says more than one thing");
    return std::nullopt;
}

JsonSchema::Found JsonSchema::check_array(const json& schema, const json& value,
                                          const std::string& field) const {
    if (value.size() < schema.value("minItems", std::size_t{0}))
        return wrong(field, "has too few items");
    if (const std::size_t most = schema.value("maxItems", SIZE_MAX); value.size() > most)
        return wrong(field, "has more than " + std::to_string(most) + " items");
    const auto items = schema.find("items");
    for (std::size_t at = 0; at < value.size(); ++at) {
        if (items != schema.end())
            if (auto problem = check_at(*items, value[at], field + "[" + std::to_string(at) + "]"))
                return problem;
        const auto end = value.begin() + static_cast<std::ptrdiff_t>(at);
        if (schema.value("uniqueItems", false) && std::find(value.begin(), end, value[at]) != end)
            return wrong(field, "has " + value[at].dump() + " twice");
    }
    return std::nullopt;
}

bool JsonSchema::understands(const json& schema) const {
    for (const auto& [word, value] : schema.items())
        if (std::find(kWords.begin(), kWords.end(), word) == kWords.end()) return false;
    const json properties = schema.value("properties", json::object());
    const bool inner = std::all_of(properties.begin(), properties.end(),
                                   [&](const json& each) { return understands(each); });
    return inner && (!schema.contains("items") || understands(schema.at("items")));
}

}  // namespace towline
