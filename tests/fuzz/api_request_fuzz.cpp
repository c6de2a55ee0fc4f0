// SPDX-License-Identifier: Apache-2.0
// A request as a hostile client sends it: method, path, query and body are lines of the input. What
// the routes let through becomes a job's order, and that, written and read again, is the same.

#include <cstdlib>

#include "userspace/control/api_routes.hpp"
#include "userspace/jobs/job_json.hpp"

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
    if (call->operation != "put_job") return 0;
    call->body["name"] = call->word("name");
    const auto spec = spec_of(call->body);
    if (!spec) return 0;
    const auto again = spec_of(json_of(*spec));
    require(again && *again == *spec);
    static_cast<void>(spec->schedule.next_after(WallTime(std::chrono::hours(500'000)),
                                                WallTime(std::chrono::hours(499'000))));
    return 0;
}
