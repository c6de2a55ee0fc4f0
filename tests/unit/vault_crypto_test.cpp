// SPDX-License-Identifier: Apache-2.0
// Answers that others have published, and that nothing else is taken for them.

#include "userspace/vault/vault_crypto.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace towline::testing {

namespace {

using Bytes = std::vector<std::byte>;

Bytes from_hex(const std::string& text) {
    Bytes bytes;
    for (std::size_t at = 0; at < text.size(); at += 2)
        bytes.push_back(static_cast<std::byte>(std::stoul(text.substr(at, 2), nullptr, 16)));
    return bytes;
}

ByteSpan text_bytes(std::string_view text) {
    return std::as_bytes(std::span(text));
}

Nonce nonce_of(const std::string& hex) {
    Nonce nonce{};
    std::ranges::copy(from_hex(hex), nonce.begin());
    return nonce;
}

bool same(ByteSpan a, ByteSpan b) {
    return std::ranges::equal(a, b);
}

}  // namespace

// RFC 4231, test case 2, in pieces, and again.
TEST(VaultCrypto, HmacOfPiecesIsThatOfThePublishedCase) {
    HmacSha256 mac(text_bytes("Jefe"));
    for (int again = 0; again < 2; ++again) {
        for (const std::string_view piece : {"what do ya", "", " want for nothing?"})
            mac.add(text_bytes(piece));
        EXPECT_TRUE(
            same(mac.finish(),
                 from_hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")));
    }
    EXPECT_EQ(mac.finish(), hmac_sha256(text_bytes("Jefe"), {}));
}

// The GCM specification's test case 16.
TEST(VaultCrypto, AesGcmOfThePublishedCase) {
    const Bytes key = from_hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
    const Nonce nonce = nonce_of("cafebabefacedbaddecaf888");
    const Bytes plain = from_hex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449"
        "a6"
        "b525b16aedf5aa0de657ba637b39");
    const Bytes associated = from_hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    const Bytes expected = from_hex(
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056"
        "828"
        "838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b");
    AesGcm cipher(key);
    Bytes sealed(plain.size() + kTagBytes);
    cipher.seal(nonce, associated, plain, sealed);
    EXPECT_EQ(sealed, expected);
    Bytes opened(plain.size());
    ASSERT_TRUE(cipher.open(nonce, associated, sealed, opened));
    EXPECT_EQ(opened, plain);
}

TEST(VaultCrypto, NothingIsOpenedThatWasNotSealedSo) {
    const Bytes key(kKeyBytes, std::byte{7});
    const Bytes associated(9, std::byte{1});
    const Bytes plain(33, std::byte{5});
    const Nonce nonce = nonce_of("000102030405060708090a0b");
    AesGcm cipher(key);
    Bytes sealed(plain.size() + kTagBytes);
    cipher.seal(nonce, associated, plain, sealed);
    const auto refuses = [&](AesGcm& by, Nonce its_nonce, Bytes its_associated, Bytes its_sealed) {
        Bytes opened(plain.size(), std::byte{9});
        EXPECT_FALSE(by.open(its_nonce, its_associated, its_sealed, opened));
        EXPECT_EQ(opened, Bytes(plain.size())) << "bytes that nothing vouches for were handed out";
    };
    for (std::size_t at = 0; at < sealed.size(); ++at) {
        Bytes flipped = sealed;
        flipped[at] ^= std::byte{16};
        refuses(cipher, nonce, associated, flipped);
    }
    Bytes other = associated;
    other[3] ^= std::byte{1};
    refuses(cipher, nonce, other, sealed);
    Nonce another = nonce;
    another[11] ^= std::byte{1};
    refuses(cipher, another, associated, sealed);
    AesGcm wrong(Bytes(kKeyBytes, std::byte{8}));
    refuses(wrong, nonce, associated, sealed);
    Bytes opened(plain.size());
    EXPECT_TRUE(cipher.open(nonce, associated, sealed, opened));
}

// RFC 5869, test cases 1 and 3; RFC 7914, section 12; RFC 4231, test case 2.
TEST(VaultCrypto, KeysOfThePublishedCases) {
    const Secret derived =
        hkdf_sha256(from_hex("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b"),
                    from_hex("000102030405060708090a0b0c"), from_hex("f0f1f2f3f4f5f6f7f8f9"), 42);
    EXPECT_TRUE(
        same(derived.bytes(),
             from_hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf3400720"
                      "8d5b887185865")));
    const Secret saltless =
        hkdf_sha256(from_hex("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b"), {}, {}, 42);
    EXPECT_TRUE(
        same(saltless.bytes(),
             from_hex("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201"
                      "395faa4b61a96c8")));
    const auto stretched = scrypt(text_bytes("pleaseletmein"), text_bytes("SodiumChloride"),
                                  {.log2_n = 14, .r = 8, .p = 1});
    ASSERT_TRUE(stretched);
    EXPECT_TRUE(same(stretched->bytes(),
                     from_hex("7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2")));
    EXPECT_TRUE(same(hmac_sha256(text_bytes("Jefe"), text_bytes("what do ya want for nothing?")),
                     from_hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")));
}

TEST(VaultCrypto, ASecretIsLeftOutOfCoreDumpsAndCutShortInTheEnd) {
    Secret secret(40);
    std::ranges::fill(secret.bytes(), std::byte{0x5a});
    secret.shorten(8);
    EXPECT_EQ(secret.bytes().size(), 8U);
    EXPECT_EQ(secret.bytes().data()[8], std::byte{0});
    const auto address = reinterpret_cast<unsigned long>(secret.bytes().data());
    std::ifstream maps("/proc/self/smaps");
    std::string flags;
    bool its = false;
    for (std::string line; std::getline(maps, line);) {
        char* rest = nullptr;
        const unsigned long begin = std::strtoul(line.c_str(), &rest, 16);
        if (*rest == '-') its = address >= begin && address < std::strtoul(rest + 1, nullptr, 16);
        if (its && line.starts_with("VmFlags:")) flags = line + " ";
    }
    EXPECT_NE(flags.find(" dd "), std::string::npos) << flags;
    Secret moved = std::move(secret);
    EXPECT_EQ(moved.bytes()[7], std::byte{0x5a});
    EXPECT_TRUE(secret.empty());  // NOLINT(bugprone-use-after-move)
}

}  // namespace towline::testing
