// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "io/result.hpp"

namespace towline {

// Where a daemon listens: "tcp://HOST:PORT" (an IPv6 host in brackets) or "unix:PATH".
struct Address {
    enum class Kind { kTcp, kUnix };
    Kind kind = Kind::kTcp;
    std::string host;
    std::uint16_t port = 0;
    std::string path;

    static Result<Address> parse(std::string_view text);
    std::string text() const;
    bool operator==(const Address&) const = default;
};

// A volume at a daemon: "tcp://HOST:PORT/NAME" or "unix:PATH:/NAME".
struct RemoteTarget {
    Address address;
    std::string name;

    // Nothing when the text names no daemon, but a local path.
    static Result<std::optional<RemoteTarget>> parse(std::string_view text);
};

}  // namespace towline
