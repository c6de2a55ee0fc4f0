// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "io/result.hpp"
#include "tools/towline/daemon_link.hpp"

namespace towline {

// Asks the daemon; a connection a question.
class ApiClient {
  public:
    struct Answer {
        int status = 0;
        nlohmann::json body;

        bool good() const { return status >= 200 && status < 300; }
    };

    explicit ApiClient(DaemonPlace place) : place_(std::move(place)) {}

    Result<Answer> call(const std::string& method, const std::string& path,
                        const std::optional<nlohmann::json>& body = std::nullopt) const;
    // All pages of a list, as one answer: {key: […], "next": null}. The path may have a query.
    Result<Answer> all(const std::string& path, const char* key) const;
    // Each line of an answer that goes on, until it ends or `line` says false. What is no stream is
    // an answer as above.
    Result<Answer> follow(const std::string& path,
                          const std::function<bool(const std::string&)>& line) const;

  private:
    DaemonPlace place_;
};

// A text as a part of a path or query.
std::string percent_encoded(const std::string& text);

}  // namespace towline
