// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "userspace/control/http_server.hpp"

namespace towline {

// The metrics, and nothing else, on a port of the loopback: for a scraper that speaks to no Unix
// socket. Whoever is on this host may read them.
Result<std::unique_ptr<HttpServer>> serve_metrics(std::uint16_t port,
                                                  std::function<std::string()> text);

}  // namespace towline
