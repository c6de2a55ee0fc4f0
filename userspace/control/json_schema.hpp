// SPDX-License-Identifier: Apache-2.0
#pragma once

// JSON Schema, as far as api.json uses it. A library would say in words what is wrong; callers need
// the field and the kind of wrong, and text is never parsed here. A test holds our verdicts against
// those of a validator of others.

#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

namespace towline {

struct SchemaError {
    enum class Kind { kWrong, kUnknownField };
    Kind kind = Kind::kWrong;
    std::string field;    // "schedule.every", "tags[3]"; empty: the whole
    std::string message;  // "is not a string"
};

class JsonSchema {
  public:
    // `document` holds what "$ref" refers to, and outlives this.
    explicit JsonSchema(const nlohmann::json& document) : document_(document) {}

    // The first thing that is wrong. `schema` is a part of the document.
    std::optional<SchemaError> check(const nlohmann::json& schema,
                                     const nlohmann::json& value) const;

    // A schema behind its references.
    const nlohmann::json& resolve(const nlohmann::json& schema) const;

    // Every word of the schema is one that check() knows: else it would be passed over in silence.
    bool understands(const nlohmann::json& schema) const;

  private:
    using Found = std::optional<SchemaError>;
    Found check_at(const nlohmann::json& schema, const nlohmann::json& value,
                   const std::string& field) const;
    Found check_object(const nlohmann::json& schema, const nlohmann::json& value,
                       const std::string& field) const;
    Found check_array(const nlohmann::json& schema, const nlohmann::json& value,
                      const std::string& field) const;

    const nlohmann::json& document_;
};

}  // namespace towline
