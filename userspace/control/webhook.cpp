// SPDX-License-Identifier: Apache-2.0
// By libcurl, which checks certificates as the system says. What a receiver answers is not kept.

#include "userspace/control/webhook.hpp"

#include <array>
#include <chrono>
#include <curl/curl.h>
#include <memory>
#include <openssl/evp.h>
#include <openssl/hmac.h>

namespace towline {

namespace {

constexpr long kConnectSeconds = 5;
constexpr long kAllSeconds = 10;

struct EndHandle {
    void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
struct EndHeaders {
    void operator()(curl_slist* headers) const { curl_slist_free_all(headers); }
};
using Headers = std::unique_ptr<curl_slist, EndHeaders>;

void add(Headers& headers, const std::string& line) {
    // The library copies the line; the list's head stays, once there is one.
    curl_slist* all = curl_slist_append(headers.get(), line.c_str());
    if (!headers && all != nullptr) headers.reset(all);
}

std::size_t ignore_answer(char*, std::size_t size, std::size_t count, void*) {
    return size * count;
}

Headers headers_of(const std::string& secret, const WebhookMessage& message) {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const std::string timestamp =
        std::to_string(std::chrono::duration_cast<std::chrono::seconds>(now).count());
    Headers headers;
    add(headers, "Content-Type: application/json");
    add(headers, "Towline-Event: " + message.type);
    add(headers, "Towline-Delivery: " + message.id);
    add(headers, "Towline-Timestamp: " + timestamp);
    add(headers, "Towline-Signature: " + webhook_signature(secret, timestamp, message.body));
    return headers;
}

}  // namespace

std::string webhook_signature(const std::string& secret, const std::string& timestamp,
                              const std::string& body) {
    const std::string text = timestamp + "." + body;
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned length = 0;
    HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
         reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data(), &length);
    std::string shown = "sha256=";
    for (unsigned i = 0; i < length; ++i) {
        constexpr std::string_view kDigits = "0123456789abcdef";
        shown += kDigits[digest.at(i) >> 4U];
        shown += kDigits[digest.at(i) & 15U];
    }
    return shown;
}

Status post_webhook(const std::string& url, const std::string& secret,
                    const WebhookMessage& message) {
    static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
    const std::unique_ptr<CURL, EndHandle> handle(ready == CURLE_OK ? curl_easy_init() : nullptr);
    if (!handle) return fail(Code::kIo, "cannot make a request: libcurl does not start");
    CURL* request = handle.get();
    const Headers headers = headers_of(secret, message);
    curl_easy_setopt(request, CURLOPT_URL, url.c_str());
    curl_easy_setopt(request, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(request, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(request, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(request, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
    curl_easy_setopt(request, CURLOPT_TIMEOUT, kAllSeconds);
    curl_easy_setopt(request, CURLOPT_HTTPHEADER, headers.get());
    curl_easy_setopt(request, CURLOPT_POSTFIELDSIZE, static_cast<long>(message.body.size()));
    curl_easy_setopt(request, CURLOPT_POSTFIELDS, message.body.c_str());
    curl_easy_setopt(request, CURLOPT_WRITEFUNCTION, &ignore_answer);
    const CURLcode sent = curl_easy_perform(request);
    if (sent != CURLE_OK)
        return fail(Code::kDisconnected,
                    "the receiver cannot be told: " + std::string(curl_easy_strerror(sent)));
    long answer = 0;
    curl_easy_getinfo(request, CURLINFO_RESPONSE_CODE, &answer);
    if (answer >= 200 && answer < 300) return {};
    const bool elsewhere = answer >= 300 && answer < 400;
    return fail(Code::kRefused, "the receiver answered " + std::to_string(answer) +
                                    (elsewhere ? ": redirects are not followed" : ""));
}

}  // namespace towline
