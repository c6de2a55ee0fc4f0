// SPDX-License-Identifier: Apache-2.0
// A wrap is an AEAD over the vault's key, bound to the vault: it says by itself whether what opened
// it was right, and none can be carried over from another vault. What a config asks for in time and
// memory is bounded before it is done.

#include "userspace/vault/key_wrap.hpp"

#include <algorithm>
#include <charconv>

#include <nlohmann/json.hpp>

#include "userspace/vault/object_frame.hpp"
#include "userspace/vault/point.hpp"

namespace towline {

namespace {

using Json = nlohmann::json;
using Bytes = std::vector<std::byte>;

constexpr std::string_view kCipher = "aes-256-gcm-16k";
constexpr std::string_view kFilePurpose = "towline vault key file 1";
constexpr std::string_view kWrapPurpose = "towline vault key 1";
constexpr std::size_t kSaltBytes = 32;

ByteSpan bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text));
}

std::string hex_of(const Bytes& bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    for (const std::byte each : bytes) {
        text += kDigits[std::to_integer<unsigned>(each) >> 4];
        text += kDigits[std::to_integer<unsigned>(each) & 15];
    }
    return text;
}

Bytes drawn(std::size_t count) {
    Bytes bytes(count);
    fill_random(bytes);
    return bytes;
}

Bytes associated(const Uuid& vault) {
    ByteWriter writer;
    writer.put_bytes(bytes_of(kWrapPurpose)).put_bytes(vault.bytes);
    return writer.take();
}

Nonce nonce_of(const Bytes& bytes) {
    Nonce nonce{};
    std::ranges::copy(bytes, nonce.begin());
    return nonce;
}

Result<Secret> wrapping_key(const KeyWrap& wrap, ByteSpan by) {
    if (wrap.kind == KeyKind::kPassphrase) return scrypt(by, wrap.salt, wrap.cost);
    return hkdf_sha256(by, wrap.salt, bytes_of(kFilePurpose), kKeyBytes);
}

// Thrown by nlohmann too; ends in encryption_from_json.
[[noreturn]] void refuse(const std::string& what) {
    throw Json::other_error::create(501, what, nullptr);
}

Bytes bytes_at(const Json& json, const char* key, std::size_t count) {
    const auto text = json.at(key).get<std::string>();
    Bytes bytes;
    for (std::size_t at = 0; at + 2 <= text.size(); at += 2) {
        unsigned value = 0;
        const char* end = text.data() + at + 2;
        if (std::from_chars(text.data() + at, end, value, 16).ptr != end) break;
        bytes.push_back(static_cast<std::byte>(value));
    }
    if (bytes.size() != count || hex_of(bytes) != text)
        refuse(std::string("not so many bytes as it should have at ") + key);
    return bytes;
}

KeyWrap wrap_of(const Json& json) {
    const auto kind = json.at("kind").get<std::string>();
    KeyWrap wrap{.id = json.at("id").get<std::string>(),
                 .kind = kind == "passphrase" ? KeyKind::kPassphrase : KeyKind::kKeyFile,
                 .created_at = json.at("created_at").get<std::string>(),
                 .cost = {},
                 .salt = bytes_at(json, "salt", kSaltBytes),
                 .nonce = bytes_at(json, "nonce", kNonceBytes),
                 .wrapped = bytes_at(json, "wrapped", kKeyBytes + kTagBytes)};
    if (kind != key_kind_name(wrap.kind)) refuse("an unknown kind of key");
    if (wrap.kind == KeyKind::kPassphrase) {
        wrap.cost = {.log2_n = json.at("scrypt_log2_n").get<unsigned>(),
                     .r = json.at("scrypt_r").get<unsigned>(),
                     .p = json.at("scrypt_p").get<unsigned>()};
        if (!wrap.cost.allowed()) refuse("a cost of scrypt that is out of bounds");
    }
    return wrap;
}

}  // namespace

std::string_view key_kind_name(KeyKind kind) {
    return kind == KeyKind::kPassphrase ? "passphrase" : "key-file";
}

Result<KeyWrap> KeyWrap::make(KeyKind kind, ByteSpan by, const Secret& vault_key, const Uuid& vault,
                              const ScryptCost& cost) {
    KeyWrap wrap{.id = hex_of(drawn(4)),
                 .kind = kind,
                 .created_at = utc_now(),
                 .cost = kind == KeyKind::kPassphrase ? cost : ScryptCost{},
                 .salt = drawn(kSaltBytes),
                 .nonce = drawn(kNonceBytes),
                 .wrapped = Bytes(kKeyBytes + kTagBytes)};
    const Secret key = TRY(wrapping_key(wrap, by));
    AesGcm(key.bytes())
        .seal(nonce_of(wrap.nonce), associated(vault), vault_key.bytes(), wrap.wrapped);
    return wrap;
}

Result<std::optional<Secret>> KeyWrap::unwrap(ByteSpan by, const Uuid& vault) const {
    const Secret key = TRY(wrapping_key(*this, by));
    Secret vault_key(kKeyBytes);
    if (!AesGcm(key.bytes()).open(nonce_of(nonce), associated(vault), wrapped, vault_key.bytes()))
        return std::optional<Secret>();
    return std::optional<Secret>(std::move(vault_key));
}

Json to_json(const VaultEncryption& encryption) {
    Json wraps = Json::array();
    for (const KeyWrap& each : encryption.wraps) {
        Json json{{"id", each.id},
                  {"kind", key_kind_name(each.kind)},
                  {"created_at", each.created_at},
                  {"salt", hex_of(each.salt)},
                  {"nonce", hex_of(each.nonce)},
                  {"wrapped", hex_of(each.wrapped)}};
        if (each.kind == KeyKind::kPassphrase) {
            json["scrypt_log2_n"] = each.cost.log2_n;
            json["scrypt_r"] = each.cost.r;
            json["scrypt_p"] = each.cost.p;
        }
        wraps.push_back(std::move(json));
    }
    return {{"cipher", kCipher}, {"keys", std::move(wraps)}};
}

Result<VaultEncryption> encryption_from_json(const Json& json, const std::string& name) {
    try {
        const auto cipher = json.at("cipher").get<std::string>();
        if (cipher != kCipher) {
            return fail(Code::kUnsupported,
                        "the vault is encrypted in a way that this Towline "
                        "does not know (" +
                            cipher + "); upgrade it");
        }
        VaultEncryption encryption;
        for (const Json& each : json.at("keys"))
            encryption.wraps.push_back(wrap_of(each));
        if (encryption.wraps.empty() || encryption.wraps.size() > VaultEncryption::kWrapsMax)
            refuse("no key, or too many");
        return encryption;
    } catch (const std::exception& problem) {
        return object_damaged(name, std::string("it is not of its form: ") + problem.what());
    }
}

}  // namespace towline
