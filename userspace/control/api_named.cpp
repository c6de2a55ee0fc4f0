// SPDX-License-Identifier: Apache-2.0
// What a request's If-Match is held against. A group changes with the jobs that leave it, whoever
// deletes them, and comes back to what it was as it likes: its tag is of its contents, so that no
// number has to be kept for it, and who gives one has seen what is there.

#include "userspace/control/api_named.hpp"

#include <cstdio>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace towline {

bool matches(const HttpRequest& request, const std::string& tag) {
    const auto given = request.headers.find("if-match");
    if (given == request.headers.end()) return true;
    if (tag.empty()) return false;
    std::string wanted = given->second;
    std::erase(wanted, '"');
    return wanted == "*" || wanted == tag;
}

std::optional<ApiError> find_mismatch(const HttpRequest& request, const std::string& what,
                                      const std::string& name, const std::string& tag) {
    if (matches(request, tag)) return std::nullopt;
    return ApiError{ApiCode::kRevisionMismatch,
                    tag.empty()
                        ? "there is no such " + what + " yet"
                        : what + " " + name + " is not as If-Match says any more: look at it again",
                    "If-Match", ""};
}

std::string tag_of(const nlohmann::json& document) {
    const std::string text =
        document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
    char tag[33];
    std::snprintf(tag, sizeof tag, "%016llx%016llx", static_cast<unsigned long long>(hash.high64),
                  static_cast<unsigned long long>(hash.low64));
    return tag;
}

}  // namespace towline
