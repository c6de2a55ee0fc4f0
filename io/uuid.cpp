// SPDX-License-Identifier: Apache-2.0
// Random names (RFC 9562 version 4) and their text form.

#include "io/uuid.hpp"

#include <sys/random.h>

#include "io/check.hpp"

namespace towline {

void fill_random(void* at, std::size_t bytes) {
    auto* next = static_cast<std::byte*>(at);
    while (bytes > 0) {
        const ssize_t got = getrandom(next, bytes, 0);
        if (got < 0 && errno == EINTR) continue;
        CHECK(got > 0);
        next += got;
        bytes -= static_cast<std::size_t>(got);
    }
}

Uuid Uuid::random() {
    Uuid uuid;
    fill_random(uuid.bytes.data(), uuid.bytes.size());
    uuid.bytes[6] = (uuid.bytes[6] & std::byte{0x0f}) | std::byte{0x40};
    uuid.bytes[8] = (uuid.bytes[8] & std::byte{0x3f}) | std::byte{0x80};
    return uuid;
}

std::string Uuid::text() const {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
        text += kDigits[std::to_integer<unsigned>(bytes[i]) >> 4];
        text += kDigits[std::to_integer<unsigned>(bytes[i]) & 15];
    }
    return text;
}

namespace {

int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

}  // namespace

std::optional<Uuid> Uuid::parse(std::string_view text) {
    if (text.size() != 36) return std::nullopt;
    Uuid uuid;
    std::size_t at = 0;
    for (std::size_t i = 0; i < uuid.bytes.size(); ++i) {
        if (at == 8 || at == 13 || at == 18 || at == 23) {
            if (text[at++] != '-') return std::nullopt;
        }
        const int high = digit_of(text[at]);
        const int low = digit_of(text[at + 1]);
        if (high < 0 || low < 0) return std::nullopt;
        uuid.bytes[i] = static_cast<std::byte>(high << 4 | low);
        at += 2;
    }
    return uuid;
}

}  // namespace towline
