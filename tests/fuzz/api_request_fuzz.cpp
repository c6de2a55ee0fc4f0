// SPDX-License-Identifier: Apache-2.0
// A request as a hostile client sends it: method, path, query and body are lines of the input. What
// the routes let through becomes a job's order, a template or a group, and that, written and read
// again, is the same.

#include <cstdlib>

#include <nlohmann/json.hpp>

#include "userspace/control/api_routes.hpp"
#include "userspace/jobs/job_group.hpp"
#include "userspace/jobs/job_template.hpp"

namespace {

using namespace towline;

std::string take_line(std::string_view& rest) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string line(rest.substr(0, end));
    rest.remove_prefix(std::min(rest.size(), end + 1));
    return line;
}

void require(bool condition) {
    if (!condition) std::abort();
}

void check_job(const nlohmann::json& order) {
    const auto spec = spec_of(order);
    if (!spec) return;
    const auto again = spec_of(json_of(*spec));
    require(again && *again == *spec);
    static_cast<void>(spec->schedule.next_after(WallTime(std::chrono::hours(500'000)),
                                                WallTime(std::chrono::hours(499'000))));
}

// One that is kept can be used: a job can be made with it.
void check_template(const nlohmann::json& given) {
    const auto preset = template_of(given);
    if (!preset) return;
    const auto again = template_of(json_of(*preset));
    require(again && *again == *preset);
    require(spec_of(preset->complete({{"name", "n"}, {"volumes", {"/v"}}, {"target", "/t"}}))
                .has_value());
}

void check_group(const nlohmann::json& given) {
    const JobGroup group = group_of(given);
    require(group_of(json_of(group)) == group);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const ApiRoutes routes;
    std::string_view rest(reinterpret_cast<const char*>(data), size);
    HttpRequest request;
    request.method = take_line(rest);
    request.path = take_line(rest);
    const std::string query = take_line(rest);
    if (const std::size_t at = query.find('='); at != std::string::npos)
        request.query.emplace_back(query.substr(0, at), query.substr(at + 1));
    request.body = rest;
    auto call = routes.route(request);
    if (!call || !routes.check(request, *call)) return 0;
    for (const char* number : {"limit", "id", "since"})
        static_cast<void>(call->number(number));
    if (!call->body.is_object()) return 0;
    call->body["name"] = call->word("name");
    if (call->operation == "put_job") check_job(call->body);
    if (call->operation == "put_template") check_template(call->body);
    if (call->operation == "put_group") check_group(call->body);
    return 0;
}
