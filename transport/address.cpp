// SPDX-License-Identifier: Apache-2.0
// The two forms in which people write where a daemon is.

#include "transport/address.hpp"

#include <charconv>
#include <sys/un.h>

namespace towline {

namespace {

constexpr std::string_view kTcp = "tcp://";
constexpr std::string_view kUnix = "unix:";

std::unexpected<Error> bad_address(std::string_view text, const char* why) {
    return fail(Code::kInvalid, "\"" + std::string(text) + "\" is not an address: " + why +
                                    "; write tcp://HOST:PORT or unix:PATH");
}

Result<Address> parse_tcp(std::string_view whole, std::string_view rest) {
    const std::size_t colon = rest.rfind(':');
    if (colon == std::string_view::npos) return bad_address(whole, "the port is missing");
    std::string_view host = rest.substr(0, colon);
    const std::string_view port_text = rest.substr(colon + 1);
    if (host.starts_with('[') && host.ends_with(']')) {
        host = host.substr(1, host.size() - 2);
    } else if (host.find(':') != std::string_view::npos) {
        return bad_address(whole, "an IPv6 host stands in brackets");
    }
    if (host.empty()) return bad_address(whole, "the host is missing");
    Address address;
    const auto [end, error] =
        std::from_chars(port_text.data(), port_text.data() + port_text.size(), address.port);
    if (error != std::errc{} || end != port_text.data() + port_text.size()) {
        return bad_address(whole, "the port is a number from 0 to 65535");
    }
    address.host = host;
    return address;
}

Result<Address> parse_unix(std::string_view whole, std::string_view path) {
    if (path.empty()) return bad_address(whole, "the path is missing");
    if (path.size() >= sizeof(sockaddr_un::sun_path)) {
        return bad_address(whole, "the path of a Unix socket has at most 107 bytes");
    }
    Address address;
    address.kind = Address::Kind::kUnix;
    address.path = path;
    return address;
}

}  // namespace

Result<Address> Address::parse(std::string_view text) {
    if (text.starts_with(kTcp)) return parse_tcp(text, text.substr(kTcp.size()));
    if (text.starts_with(kUnix)) return parse_unix(text, text.substr(kUnix.size()));
    return bad_address(text, "it begins with neither tcp:// nor unix:");
}

std::string Address::text() const {
    if (kind == Kind::kUnix) return std::string(kUnix) + path;
    const bool bracketed = host.find(':') != std::string::npos;
    return std::string(kTcp) + (bracketed ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<std::optional<RemoteTarget>> RemoteTarget::parse(std::string_view text) {
    std::size_t split = std::string_view::npos;
    std::size_t name_at = 0;
    if (text.starts_with(kTcp)) {
        split = text.find('/', kTcp.size());
        name_at = split + 1;
    } else if (text.starts_with(kUnix)) {
        split = text.find(":/", kUnix.size());
        name_at = split + 2;
    } else if (text.find("://") != std::string_view::npos) {
        return bad_address(text, "an unknown scheme");
    } else {
        return std::nullopt;
    }
    if (split == std::string_view::npos || name_at >= text.size()) {
        return fail(Code::kInvalid,
                    "\"" + std::string(text) +
                        "\" names no volume; write tcp://HOST:PORT/NAME or unix:PATH:/NAME");
    }
    RemoteTarget target;
    target.address = TRY(Address::parse(text.substr(0, split)));
    target.name = text.substr(name_at);
    return target;
}

}  // namespace towline
