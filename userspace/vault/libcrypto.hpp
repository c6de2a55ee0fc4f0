// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

namespace towline {

// What is called of OpenSSL's libcrypto, by its own names and types.
// clang-format off
#define TOWLINE_LIBCRYPTO_FUNCTIONS(each) \
    each(EVP_CIPHER_CTX_ctrl) each(EVP_CIPHER_CTX_free) each(EVP_CIPHER_CTX_new) \
    each(EVP_CipherFinal_ex) each(EVP_CipherInit_ex2) each(EVP_CipherUpdate) \
    each(EVP_KDF_CTX_free) \
    each(EVP_KDF_CTX_new) each(EVP_KDF_derive) each(EVP_KDF_fetch) each(EVP_KDF_free) \
    each(EVP_MAC_CTX_dup) each(EVP_MAC_CTX_free) each(EVP_MAC_CTX_new) \
    each(EVP_MAC_fetch) each(EVP_MAC_final) each(EVP_MAC_free) each(EVP_MAC_init) \
    each(EVP_MAC_update) each(EVP_aes_256_gcm) each(EVP_sha256) each(HMAC) \
    each(OSSL_PARAM_construct_end) each(OSSL_PARAM_construct_octet_string) \
    each(OSSL_PARAM_construct_uint32) each(OSSL_PARAM_construct_uint64) \
    each(OSSL_PARAM_construct_utf8_string) each(RAND_bytes) each(SHA256)
// clang-format on

struct LibCrypto {
    // The library's own names.
    // NOLINTBEGIN(readability-identifier-naming,bugprone-macro-parentheses)
#define TOWLINE_MEMBER(name) decltype(&::name) name = nullptr;
    TOWLINE_LIBCRYPTO_FUNCTIONS(TOWLINE_MEMBER)
#undef TOWLINE_MEMBER
    // NOLINTEND(readability-identifier-naming,bugprone-macro-parentheses)
};

// Bound when it is asked for the first time, by any thread: that takes a fifth of the time in which
// the command starts, and a run without a vault or a key needs none of it. A host without the
// library ends the process there, and is told what to install.
const LibCrypto& crypto();

}  // namespace towline
