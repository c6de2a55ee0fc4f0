// SPDX-License-Identifier: Apache-2.0
#pragma once

// A request and its answer, as the API sees them; http_server.cpp puts them on the wire.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace towline {

enum class Role { kViewer, kOperator, kAdmin };

// Who is at the other end of the socket, as the kernel says.
struct Peer {
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::int64_t pid = 0;
    std::optional<Role> role;  // nothing: none
};

struct HttpRequest {
    std::string method;
    std::string path;  // as it came, still encoded
    std::vector<std::pair<std::string, std::string>> query;
    std::map<std::string, std::string> headers;  // names in lower case
    std::string body;
    bool body_too_large = false;
    Peer peer;
};

// Gives the next piece of an answer that goes on; empty: it is over. May block for a second or so.
using HttpStream = std::function<std::string()>;

struct HttpAnswer {
    int status = 200;
    std::string type = "application/json";
    std::string body;
    std::map<std::string, std::string> headers;
    HttpStream stream;  // instead of the body
};

}  // namespace towline
