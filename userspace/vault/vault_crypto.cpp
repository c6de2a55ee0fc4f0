// SPDX-License-Identifier: Apache-2.0
// Thin over OpenSSL 3. What can only fail for want of memory or by a bug of ours is a CHECK; what
// a config asks for, or stored bytes decide, is a result.

#include "userspace/vault/vault_crypto.hpp"

#include <algorithm>
#include <openssl/core_names.h>

#include "io/check.hpp"
#include "userspace/vault/libcrypto.hpp"

namespace towline {

namespace {

const unsigned char* raw(ByteSpan bytes) {
    return reinterpret_cast<const unsigned char*>(bytes.data());
}

unsigned char* raw(MutableByteSpan bytes) {
    return reinterpret_cast<unsigned char*>(bytes.data());
}

int length(ByteSpan bytes) {
    CHECK(bytes.size() <= INT32_MAX);
    return static_cast<int>(bytes.size());
}

OSSL_PARAM octets(const char* key, ByteSpan bytes) {
    return crypto().OSSL_PARAM_construct_octet_string(key, const_cast<std::byte*>(bytes.data()),
                                                      bytes.size());
}

struct FreeKdf {
    void operator()(EVP_KDF* kdf) const { crypto().EVP_KDF_free(kdf); }
    void operator()(EVP_KDF_CTX* context) const { crypto().EVP_KDF_CTX_free(context); }
};

bool derive(const char* name, const OSSL_PARAM* parameters, MutableByteSpan into) {
    const std::unique_ptr<EVP_KDF, FreeKdf> kdf(crypto().EVP_KDF_fetch(nullptr, name, nullptr));
    CHECK(kdf != nullptr);
    const std::unique_ptr<EVP_KDF_CTX, FreeKdf> context(crypto().EVP_KDF_CTX_new(kdf.get()));
    CHECK(context != nullptr);
    return crypto().EVP_KDF_derive(context.get(), raw(into), into.size(), parameters) > 0;
}

}  // namespace

void fill_random(MutableByteSpan bytes) {
    CHECK(crypto().RAND_bytes(raw(bytes), length(bytes)) == 1);
}

Secret hkdf_sha256(ByteSpan key, ByteSpan salt, ByteSpan info, std::size_t bytes) {
    char digest[] = "SHA256";
    // An empty salt is one that is not given (as many zeros as the digest has bytes).
    static constexpr std::byte kZeros[32]{};
    const OSSL_PARAM parameters[] = {
        crypto().OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        octets(OSSL_KDF_PARAM_KEY, key),
        octets(OSSL_KDF_PARAM_SALT, salt.empty() ? ByteSpan(kZeros) : salt),
        octets(OSSL_KDF_PARAM_INFO, info), crypto().OSSL_PARAM_construct_end()};
    Secret derived(bytes);
    CHECK(derive("HKDF", parameters, derived.bytes()));
    return derived;
}

std::array<std::byte, 32> hmac_sha256(ByteSpan key, ByteSpan text) {
    std::array<std::byte, 32> digest{};
    unsigned size = 0;
    CHECK(crypto().HMAC(crypto().EVP_sha256(), key.data(), length(key), raw(text), text.size(),
                        raw(MutableByteSpan(digest)), &size) != nullptr);
    return digest;
}

void HmacSha256::Free::operator()(evp_mac_ctx_st* context) const {
    crypto().EVP_MAC_CTX_free(context);
}

HmacSha256::HmacSha256(ByteSpan key) {
    EVP_MAC* const mac = crypto().EVP_MAC_fetch(nullptr, "HMAC", nullptr);
    CHECK(mac != nullptr);
    keyed_.reset(crypto().EVP_MAC_CTX_new(mac));
    crypto().EVP_MAC_free(mac);  // the context has its own hold on it
    char digest[] = "SHA256";
    const OSSL_PARAM parameters[] = {
        crypto().OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        crypto().OSSL_PARAM_construct_end()};
    CHECK(keyed_ != nullptr &&
          crypto().EVP_MAC_init(keyed_.get(), raw(key), key.size(), parameters) == 1);
}

void HmacSha256::add(ByteSpan text) {
    if (!going_) going_.reset(crypto().EVP_MAC_CTX_dup(keyed_.get()));
    CHECK(going_ != nullptr && crypto().EVP_MAC_update(going_.get(), raw(text), text.size()) == 1);
}

std::array<std::byte, 32> HmacSha256::finish() {
    add({});
    std::array<std::byte, 32> digest{};
    std::size_t size = 0;
    CHECK(crypto().EVP_MAC_final(going_.get(), raw(MutableByteSpan(digest)), &size,
                                 digest.size()) == 1);
    going_.reset();
    return digest;
}

Result<Secret> scrypt(ByteSpan passphrase, ByteSpan salt, const ScryptCost& cost) {
    std::uint64_t n = std::uint64_t{1} << cost.log2_n;
    std::uint32_t r = cost.r;
    std::uint32_t p = cost.p;
    // And what the function needs beside its table.
    std::uint64_t memory_max = cost.memory_bytes() + (std::uint64_t{1} << 20);
    const OSSL_PARAM parameters[] = {
        octets(OSSL_KDF_PARAM_PASSWORD, passphrase),
        octets(OSSL_KDF_PARAM_SALT, salt),
        crypto().OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_N, &n),
        crypto().OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_R, &r),
        crypto().OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_P, &p),
        crypto().OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_MAXMEM, &memory_max),
        crypto().OSSL_PARAM_construct_end()};
    Secret derived(kKeyBytes);
    if (!derive("SCRYPT", parameters, derived.bytes())) {
        return fail(Code::kUnsupported, "scrypt of the passphrase failed: it takes " +
                                            std::to_string(cost.memory_bytes() >> 20) +
                                            " MiB of memory for a moment");
    }
    return derived;
}

// --- AES-256-GCM --------------------------------------------------------------------------------

void AesGcm::Free::operator()(evp_cipher_ctx_st* context) const {
    crypto().EVP_CIPHER_CTX_free(context);  // cleanses the key
}

AesGcm::AesGcm(ByteSpan key) : context_(crypto().EVP_CIPHER_CTX_new()) {
    CHECK(context_ != nullptr && key.size() == kKeyBytes);
    // Direction and nonce come with each call; the key's schedule is the costly part.
    CHECK(crypto().EVP_CipherInit_ex2(context_.get(), crypto().EVP_aes_256_gcm(), raw(key), nullptr,
                                      1, nullptr) == 1);
}

void AesGcm::seal(const Nonce& nonce, ByteSpan associated, ByteSpan plain, MutableByteSpan sealed) {
    CHECK(sealed.size() == plain.size() + kTagBytes);
    int done = 0;
    EVP_CIPHER_CTX* context = context_.get();
    CHECK(crypto().EVP_CipherInit_ex2(context, nullptr, nullptr, raw(ByteSpan(nonce)), 1,
                                      nullptr) == 1);
    CHECK(crypto().EVP_CipherUpdate(context, nullptr, &done, raw(associated), length(associated)) ==
          1);
    CHECK(crypto().EVP_CipherUpdate(context, raw(sealed), &done, raw(plain), length(plain)) == 1);
    CHECK(crypto().EVP_CipherFinal_ex(context, raw(sealed.last(kTagBytes)), &done) == 1 &&
          done == 0);
    CHECK(crypto().EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kTagBytes,
                                       sealed.last(kTagBytes).data()) == 1);
}

bool AesGcm::open(const Nonce& nonce, ByteSpan associated, ByteSpan sealed, MutableByteSpan plain) {
    CHECK(sealed.size() == plain.size() + kTagBytes);
    int done = 0;
    EVP_CIPHER_CTX* context = context_.get();
    std::array<std::byte, kTagBytes> tag{};
    std::ranges::copy(sealed.last(kTagBytes), tag.begin());
    CHECK(crypto().EVP_CipherInit_ex2(context, nullptr, nullptr, raw(ByteSpan(nonce)), 0,
                                      nullptr) == 1);
    CHECK(crypto().EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kTagBytes, tag.data()) == 1);
    CHECK(crypto().EVP_CipherUpdate(context, nullptr, &done, raw(associated), length(associated)) ==
          1);
    CHECK(crypto().EVP_CipherUpdate(context, raw(plain), &done, raw(sealed), length(plain)) == 1);
    unsigned char rest[kTagBytes];
    if (crypto().EVP_CipherFinal_ex(context, rest, &done) == 1) return true;
    std::ranges::fill(plain, std::byte{0});
    return false;
}

}  // namespace towline
