// SPDX-License-Identifier: Apache-2.0
// A synthetic tag over the name is what the name is mixed with, and what says in the end that it is
// right (the construction of RFC 5297, of HMAC-SHA256). So equal names are equal objects without a
// table of them that could be lost. Padding hides how long a name is, by and large.

#include "userspace/vault/hidden_name.hpp"

#include <algorithm>

#include "userspace/vault/sealed_format.hpp"

namespace towline {

namespace format = sealed_format;

namespace {

constexpr std::string_view kPurpose = "towline vault names 1";
constexpr std::string_view kDigits = "abcdefghijklmnopqrstuvwxyz234567";  // RFC 4648, base 32

std::string to_digits(ByteSpan bytes) {
    std::string text;
    unsigned held = 0;
    unsigned bits = 0;
    for (const std::byte each : bytes) {
        held = (held << 8 | std::to_integer<unsigned>(each)) & 0xffff;
        for (bits += 8; bits >= 5; bits -= 5)
            text += kDigits[held >> (bits - 5) & 31];
    }
    if (bits > 0) text += kDigits[held << (5 - bits) & 31];
    return text;
}

std::optional<std::vector<std::byte>> from_digits(const std::string& text) {
    std::vector<std::byte> bytes;
    unsigned held = 0;
    unsigned bits = 0;
    for (const char each : text) {
        const auto digit = kDigits.find(each);
        if (digit == std::string_view::npos) return std::nullopt;
        held = (held << 5 | static_cast<unsigned>(digit)) & 0xffff;
        bits += 5;
        if (bits < 8) continue;
        bits -= 8;
        bytes.push_back(static_cast<std::byte>(held >> bits & 255));
    }
    // Only the one form of each.
    if (to_digits(bytes) != text) return std::nullopt;
    return bytes;
}

}  // namespace

NameHider::NameHider(const Secret& vault_key, const Uuid& vault) {
    ByteWriter info;
    info.put_bytes(std::as_bytes(std::span(kPurpose))).put_bytes(vault.bytes);
    keys_ = hkdf_sha256(vault_key.bytes(), {}, info.bytes(), 2 * kKeyBytes);
}

void NameHider::mix(ByteSpan tag, MutableByteSpan text) const {
    for (std::size_t at = 0; at < text.size(); at += 32) {
        ByteWriter counted;
        counted.put_bytes(tag).put(static_cast<std::uint8_t>(at / 32));
        const auto stream = hmac_sha256(stream_key(), counted.bytes());
        const auto some = text.subspan(at, std::min<std::size_t>(32, text.size() - at));
        std::ranges::transform(some, stream, some.begin(), std::bit_xor{});
    }
}

Result<std::string> NameHider::hide(const std::string& name) const {
    if (name.empty() || name.size() > format::kNameBytesMax) {
        return fail(Code::kInvalid, "a name in an encrypted vault has at most " +
                                        std::to_string(format::kNameBytesMax) +
                                        " bytes (a special character counts as three)");
    }
    const std::size_t pads = (name.size() + format::kNamePadBytes - 1) / format::kNamePadBytes;
    std::vector<std::byte> text(pads * format::kNamePadBytes);
    std::ranges::copy(std::as_bytes(std::span(name)), text.begin());
    const auto digest = hmac_sha256(check_key(), text);
    const auto tag = ByteSpan(digest).first(format::kNameTagBytes);
    mix(tag, text);
    text.insert(text.begin(), tag.begin(), tag.end());
    return to_digits(text);
}

std::optional<std::string> NameHider::reveal(const std::string& hidden) const {
    const auto bytes = from_digits(hidden);
    if (!bytes || bytes->size() <= format::kNameTagBytes) return std::nullopt;
    const auto tag = ByteSpan(*bytes).first(format::kNameTagBytes);
    std::vector<std::byte> text(bytes->begin() + format::kNameTagBytes, bytes->end());
    mix(tag, text);
    const auto digest = hmac_sha256(check_key(), text);
    if (!std::ranges::equal(tag, ByteSpan(digest).first(tag.size()))) return std::nullopt;
    std::string name(reinterpret_cast<const char*>(text.data()), text.size());
    name.resize(name.find_last_not_of('\0') + 1);
    return name;
}

}  // namespace towline
