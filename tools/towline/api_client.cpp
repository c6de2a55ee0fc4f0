// SPDX-License-Identifier: Apache-2.0
// HTTP by Boost.Beast, whose errors become ours here. Headers only: `towline sync` binds nothing
// for it.

#include "tools/towline/api_client.hpp"

#include <limits>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

namespace towline {

namespace {

namespace http = boost::beast::http;
using Socket = boost::asio::local::stream_protocol::socket;
using Problem = boost::system::error_code;

// What an answer may hold: a page of 500 jobs with long texts.
constexpr std::uint64_t kBodyMax = std::uint64_t{64} << 20;

std::unexpected<Error> disconnected(const DaemonPlace& place, const Problem& problem) {
    return fail(Code::kDisconnected, "the daemon at " + place.text() +
                                         " did not answer: " + problem.message() +
                                         (place.host.empty() ? "" : " (what did ssh say?)"));
}

// Takes the link's stream: to be closed before the link, which waits for ssh.
Result<Socket> stream_of(boost::asio::io_context& context, DaemonLink& link) {
    Problem problem;
    Socket socket(context);
    Fd fd = link.take();
    if (socket.assign({}, fd.get(), problem))
        return fail(Code::kIo, "cannot use the connection: " + problem.message());
    static_cast<void>(fd.release());
    return socket;
}

http::request<http::string_body> make_request(const std::string& method, const std::string& path,
                                              const std::optional<nlohmann::json>& body) {
    http::request<http::string_body> request;
    request.version(11);
    request.method_string(method);
    request.target(path);
    request.set(http::field::host, "towlined");
    request.set(http::field::connection, "close");
    if (body) {
        request.set(http::field::content_type, "application/json");
        request.body() = body->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    }
    request.prepare_payload();
    return request;
}

Result<ApiClient::Answer> answer_of(int status, const std::string& text) {
    nlohmann::json body = nlohmann::json::parse(text, nullptr, false);
    if (body.is_discarded())
        return fail(Code::kProtocol,
                    "the daemon answered what is no JSON (status " + std::to_string(status) + ")");
    return ApiClient::Answer{status, std::move(body)};
}

}  // namespace

std::string percent_encoded(const std::string& text) {
    std::string encoded;
    for (const char each : text) {
        const bool plain = (each >= 'a' && each <= 'z') || (each >= 'A' && each <= 'Z') ||
                           (each >= '0' && each <= '9') || each == '.' || each == '_' ||
                           each == '-';
        char code[4];
        std::snprintf(code, sizeof code, "%%%02X", static_cast<unsigned char>(each));
        encoded += plain ? std::string(1, each) : code;
    }
    return encoded;
}

Result<ApiClient::Answer> ApiClient::call(const std::string& method, const std::string& path,
                                          const std::optional<nlohmann::json>& body) const {
    DaemonLink link = TRY(DaemonLink::connect(place_));
    boost::asio::io_context context;
    Socket socket = TRY(stream_of(context, link));
    Problem problem;
    http::write(socket, make_request(method, path, body), problem);
    // A daemon that refuses early may close before it has read all: its answer counts.
    boost::beast::flat_buffer buffer;
    http::response_parser<http::string_body> parser;
    parser.body_limit(kBodyMax);
    problem = {};
    http::read(socket, buffer, parser, problem);
    if (problem) return disconnected(place_, problem);
    return answer_of(static_cast<int>(parser.get().result_int()), parser.get().body());
}

Result<ApiClient::Answer> ApiClient::all(const std::string& path, const char* key) const {
    const std::string first =
        path + (path.find('?') != std::string::npos ? "&" : "?") + "limit=500";
    nlohmann::json items = nlohmann::json::array();
    std::string cursor;
    while (true) {
        Answer page = TRY(call("GET", first + cursor));
        if (!page.good()) return page;
        for (nlohmann::json& each : page.body.at(key))
            items.push_back(std::move(each));
        const nlohmann::json next = page.body.at("next");
        if (next.is_null()) return Answer{page.status, {{key, items}, {"next", nullptr}}};
        cursor =
            "&cursor=" + percent_encoded(next.is_string() ? next.get<std::string>() : next.dump());
    }
}

Result<ApiClient::Answer> ApiClient::follow(
    const std::string& path, const std::function<bool(const std::string&)>& line) const {
    DaemonLink link = TRY(DaemonLink::connect(place_));
    boost::asio::io_context context;
    Socket socket = TRY(stream_of(context, link));
    Problem problem;
    http::write(socket, make_request("GET", path, std::nullopt), problem);
    boost::beast::flat_buffer buffer;
    http::response_parser<http::string_body> parser;
    // Not "none": this Boost takes any length that is told for more than that.
    parser.body_limit(std::numeric_limits<std::uint64_t>::max());
    if (!problem) http::read_header(socket, buffer, parser, problem);
    const int status = static_cast<int>(parser.get().result_int());
    std::string& text = parser.get().body();
    while (!problem && !parser.is_done()) {
        http::read_some(socket, buffer, parser, problem);
        if (status != 200) continue;
        for (std::size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n')) {
            const std::string one = text.substr(0, end);
            text.erase(0, end + 1);
            if (!one.empty() && !line(one)) return Answer{status, nullptr};
        }
    }
    if (problem) return disconnected(place_, problem);
    if (status == 200) return Answer{status, nullptr};
    return answer_of(status, text);
}

}  // namespace towline
