// SPDX-License-Identifier: Apache-2.0
#pragma once

// What an encrypted vault is built of (docs/format-vault.md), by OpenSSL.

#include <array>
#include <memory>
#include <optional>

#include "io/result.hpp"
#include "userspace/vault/secret.hpp"

struct evp_cipher_ctx_st;
struct evp_mac_ctx_st;

namespace towline {

constexpr std::size_t kKeyBytes = 32;
constexpr std::size_t kNonceBytes = 12;
constexpr std::size_t kTagBytes = 16;

using Nonce = std::array<std::byte, kNonceBytes>;

void fill_random(MutableByteSpan bytes);

// RFC 5869 with SHA-256.
Secret hkdf_sha256(ByteSpan key, ByteSpan salt, ByteSpan info, std::size_t bytes);

std::array<std::byte, 32> hmac_sha256(ByteSpan key, ByteSpan text);

// The same of a text that comes in pieces, and then of the next one. Used by one thread at a time.
class HmacSha256 {
  public:
    explicit HmacSha256(ByteSpan key);
    void add(ByteSpan text);
    std::array<std::byte, 32> finish();

  private:
    struct Free {
        void operator()(evp_mac_ctx_st* context) const;
    };
    using Context = std::unique_ptr<evp_mac_ctx_st, Free>;
    Context keyed_;
    Context going_;  // null: nothing was added yet
};

// RFC 7914.
struct ScryptCost {
    unsigned log2_n = 17;
    unsigned r = 8;
    unsigned p = 1;
    // What a config may ask of its reader.
    bool allowed() const { return log2_n >= 10 && log2_n <= 20 && r == 8 && p >= 1 && p <= 4; }
    std::uint64_t memory_bytes() const { return (std::uint64_t{128} * r) << log2_n; }
    bool operator==(const ScryptCost&) const = default;
};
Result<Secret> scrypt(ByteSpan passphrase, ByteSpan salt, const ScryptCost& cost);

// AES-256-GCM under one key. Used by one thread at a time.
class AesGcm {
  public:
    explicit AesGcm(ByteSpan key);
    // `sealed` is longer than `plain` by the tag.
    void seal(const Nonce& nonce, ByteSpan associated, ByteSpan plain, MutableByteSpan sealed);
    // False when it was not sealed so: `plain` is zeros then.
    [[nodiscard]] bool open(const Nonce& nonce, ByteSpan associated, ByteSpan sealed,
                            MutableByteSpan plain);

  private:
    struct Free {
        void operator()(evp_cipher_ctx_st* context) const;
    };
    std::unique_ptr<evp_cipher_ctx_st, Free> context_;
};

}  // namespace towline
