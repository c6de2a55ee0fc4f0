// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "io/result.hpp"

namespace towline {

struct WebhookMessage {
    std::string id;    // the same each time that it is tried
    std::string type;  // of the event
    std::string body;
};

// One try to tell a receiver: POST, signed over time and body (docs/jobs.md). Any answer but 2xx is
// an Error, a redirect too: nobody sends us, or what we say, elsewhere.
Status post_webhook(const std::string& url, const std::string& secret,
                    const WebhookMessage& message);

// "sha256=…": HMAC-SHA256 of "TIMESTAMP.BODY" under the secret, in hexadecimal.
std::string webhook_signature(const std::string& secret, const std::string& timestamp,
                              const std::string& body);

}  // namespace towline
