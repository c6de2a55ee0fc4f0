// SPDX-License-Identifier: Apache-2.0
// A page of the web may make a browser ask a port of this host under a name of its own; its Host
// header gives it away.

#include "userspace/control/metrics_port.hpp"

#include <array>
#include <string_view>

#include "transport/socket.hpp"

namespace towline {

namespace {

constexpr const char* kLoopback = "127.0.0.1";

bool is_loopback(std::string_view host) {
    constexpr std::array<std::string_view, 2> kNames{kLoopback, "localhost"};
    const std::string_view name = host.substr(0, host.find(':'));
    return name == kNames[0] || name == kNames[1];
}

HttpAnswer answer(const HttpRequest& request, const std::function<std::string()>& text) {
    HttpAnswer answer;
    answer.type = "text/plain; version=0.0.4";
    const auto host = request.headers.find("host");
    if (host != request.headers.end() && !is_loopback(host->second)) {
        answer.status = 403;
        answer.body = "ask 127.0.0.1\n";
    } else if (request.path != "/metrics") {
        answer.status = 404;
        answer.body = "there is only /metrics here\n";
    } else if (request.method != "GET") {
        answer.status = 405;
        answer.headers["Allow"] = "GET";
        answer.body = "GET alone\n";
    } else {
        answer.body = text();
    }
    return answer;
}

}  // namespace

Result<std::unique_ptr<HttpServer>> serve_metrics(std::uint16_t port,
                                                  std::function<std::string()> text) {
    // The server takes the socket over.
    const Listener listener = TRY(
        Listener::open({.kind = Address::Kind::kTcp, .host = kLoopback, .port = port, .path = ""}));
    return HttpServer::start(
        listener.fd(), std::nullopt,
        [text = std::move(text)](const HttpRequest& request) { return answer(request, text); });
}

}  // namespace towline
