// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "io/result.hpp"
#include "userspace/control/http.hpp"
#include "userspace/control/roles.hpp"

namespace towline {

// HTTP/1.1 on a listening socket, a thread a connection. A client that sends its request
// slower than it may is cut off; so is one that sends more than it may.
class HttpServer {
  public:
    using Handler = std::function<HttpAnswer(const HttpRequest&)>;

    // Without roles it is not asked who is at the other end, and nobody has a role.
    static Result<std::unique_ptr<HttpServer>> start(int socket, std::optional<Roles> roles,
                                                     Handler handler);
    // Whoever gives streams must have ended them.
    ~HttpServer();

    // To be called every few seconds.
    void cut_off_slow();

  private:
    class Impl;
    explicit HttpServer(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace towline
