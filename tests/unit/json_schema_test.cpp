// SPDX-License-Identifier: Apache-2.0
// What is wrong with a value, where and of which kind; and that a word of a schema that we do not
// know is noticed. (tests/integration/hostile_clients_test.py holds the verdicts against
// another's.)

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "userspace/control/api_routes.hpp"

namespace towline {
namespace {

using nlohmann::json;

const json kDocument = json::parse(R"({"defs": {"Name": {"type": "string", "minLength": 1,
    "maxLength": 3, "pattern": "^[a-z]+$"}, "Top": {"type": "object", "additionalProperties": false,
    "required": ["name"], "properties": {"name": {"$ref": "#/defs/Name"},
        "list": {"type": "array", "minItems": 1, "maxItems": 2, "uniqueItems": true,
                 "items": {"type": ["integer", "null"], "minimum": 0, "maximum": 9}},
        "inner": {"type": "object", "additionalProperties": false, "minProperties": 1,
                  "maxProperties": 1, "properties": {"a": {"enum": [1, "x"]}, "b": {}}}}}}})");

std::string verdict(const char* text) {
    const JsonSchema schema(kDocument);
    const auto problem = schema.check(kDocument.at("defs").at("Top"), json::parse(text));
    if (!problem) return "good";
    return (problem->kind == SchemaError::Kind::kUnknownField ? "unknown " : "") + problem->field +
           ": " + problem->message;
}

TEST(JsonSchema, SaysWhatIsWrongAndWhere) {
    EXPECT_EQ(verdict(R"({"name": "abc", "list": [1, null], "inner": {"a": "x"}})"), "good");
    EXPECT_EQ(verdict("[]"), ": is not of type object");
    EXPECT_EQ(verdict("{}"), "name: is missing");
    EXPECT_EQ(verdict(R"({"name": 1})"), "name: is not of type string");
    EXPECT_EQ(verdict(R"({"name": ""})"), "name: is too short");
    EXPECT_EQ(verdict(R"({"name": "abcd"})"), "name: is longer than 3 characters");
    EXPECT_EQ(verdict(R"({"name": "ABC"})"), "name: does not match ^[a-z]+$");
    EXPECT_EQ(verdict(R"({"name": "a", "nme": 1})"), "unknown nme: is not known here");
    EXPECT_EQ(verdict(R"({"name": "a", "list": []})"), "list: has too few items");
    EXPECT_EQ(verdict(R"({"name": "a", "list": [1, 2, 3]})"), "list: has more than 2 items");
    EXPECT_EQ(verdict(R"({"name": "a", "list": [1, 1]})"), "list: has 1 twice");
    EXPECT_EQ(verdict(R"({"name": "a", "list": [1, -1]})"), "list[1]: is less than 0");
    EXPECT_EQ(verdict(R"({"name": "a", "list": [10]})"), "list[0]: is more than 9");
    EXPECT_EQ(verdict(R"({"name": "a", "list": [1.5]})"),
              "list[0]: is not of type integer or null");
    EXPECT_EQ(verdict(R"({"name": "a", "inner": {}})"), "inner: is empty");
    EXPECT_EQ(verdict(R"({"name": "a", "inner": {"a": 1, "b": 1}})"),
              "inner: says more than one thing");
    EXPECT_EQ(verdict(R"({"name": "a", "inner": {"a": 2}})"), R"(inner.a: is none of [1,"x"])");
    EXPECT_EQ(verdict(R"({"name": "a", "inner": {"c": 2}})"), "unknown inner.c: is not known here");
}

TEST(JsonSchema, KnowsEveryWordThatItIsGiven) {
    const JsonSchema schema(kDocument);
    EXPECT_TRUE(schema.understands(kDocument.at("defs").at("Top")));
    for (const char* text : {R"({"oneOf": []})", R"({"properties": {"a": {"format": "uri"}}})",
                             R"({"items": {"multipleOf": 2}})"})
        EXPECT_FALSE(schema.understands(json::parse(text))) << text;
}

HttpRequest request(std::string method, std::string path, std::string body = "") {
    HttpRequest made;
    made.method = std::move(method);
    made.path = std::move(path);
    made.body = std::move(body);
    return made;
}

TEST(ApiRoutes, AreThoseOfTheDocument) {
    const ApiRoutes routes;
    const auto call = routes.route(request("PUT", "/v1/jobs/db"));
    ASSERT_TRUE(call);
    EXPECT_EQ(call->operation, "put_job");
    EXPECT_EQ(call->word("name"), "db");
    EXPECT_EQ(call->role, Role::kAdmin);
    EXPECT_EQ(routes.route(request("GET", "/v1/jobs/db/runs"))->operation, "list_job_runs");
    EXPECT_EQ(routes.route(request("PUT", "/v1/meta")).error().code, ApiCode::kMethodNotAllowed);
    for (const char* path :
         {"", "/", "v1/meta", "/v1/meta/", "//v1/meta", "/v1/jobs/", "/v2/meta", "/v1/jobs/a/b/c"})
        EXPECT_EQ(routes.route(request("GET", path)).error().code, ApiCode::kNotFound) << path;
}

TEST(ApiRoutes, ABodyIsHeldAgainstItsSchema) {
    const ApiRoutes routes;
    const auto check = [&](const std::string& body) -> std::string {
        auto put = request("PUT", "/v1/jobs/db", body);
        auto call = routes.route(put);
        const auto checked = routes.check(put, *call);
        return checked ? "good"
                       : std::string(name_of(checked.error().code)) + " " + checked.error().field;
    };
    EXPECT_EQ(check(R"({"volumes": ["/a"], "target": "/b"})"), "good");
    EXPECT_EQ(check(R"({"volumes": ["/a"]})"), "INVALID_REQUEST target");
    EXPECT_EQ(check(R"({"volumes": ["/a"], "target": "/b", "x": 1})"), "UNKNOWN_FIELD x");
    EXPECT_EQ(check(""), "INVALID_REQUEST ");
    EXPECT_EQ(check(std::string(30'000, '[')), "INVALID_REQUEST ");
}

}  // namespace
}  // namespace towline
