// SPDX-License-Identifier: Apache-2.0
// What opens an encrypted vault, and what does not.

#include <algorithm>
#include <fstream>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "vault_fixture.hpp"

namespace towline::testing {

namespace {

constexpr ScryptCost kCheap{.log2_n = 10};

ByteSpan text_bytes(std::string_view text) {
    return std::as_bytes(std::span(text));
}

struct KeyWrapTest : ::testing::Test {
    KeyWrapTest() { fill_random(key.bytes()); }
    KeyWrap wrap(KeyKind kind, std::string_view by) const {
        return KeyWrap::make(kind, text_bytes(by), key, vault, kCheap).value();
    }
    std::filesystem::path file(const std::string& name, std::string_view contents,
                               mode_t mode = 0600) const {
        const auto path = std::filesystem::path(folder.path()) / name;
        std::ofstream(path) << contents;
        EXPECT_EQ(::chmod(path.c_str(), mode), 0);
        return path;
    }
    Result<UnlockedKey> unlock(const KeySource& source) const {
        return towline::unlock(encryption, vault, source, "the vault V");
    }
    bool opens(const KeySource& source) const {
        const auto opened = unlock(source);
        return opened && std::ranges::equal(opened->key.bytes(), key.bytes());
    }

    TemporaryFolder folder;
    Secret key{kKeyBytes};
    Uuid vault = Uuid::random();
    VaultEncryption encryption;
    const std::string bytes32 = "0123456789abcdef0123456789abcdef";
};

}  // namespace

TEST_F(KeyWrapTest, EachKeyOfSeveralOpensAndNoOther) {
    encryption.wraps = {wrap(KeyKind::kPassphrase, "horse"), wrap(KeyKind::kKeyFile, bytes32)};
    EXPECT_TRUE(opens({.passphrase_files = {file("p", "horse\nsecond line\n")}}));
    EXPECT_TRUE(opens({.key_files = {file("k", bytes32)}}));
    EXPECT_TRUE(opens({.key_files = {file("other", bytes32 + "x"), file("k", bytes32)}}));
    EXPECT_TRUE(opens({.ask = [](const std::string&) {
        return Result<Secret>(Secret::copy_of(text_bytes("horse")));
    }}));
    // A passphrase's bytes are no key file's, nor the other way round.
    encryption.wraps = {wrap(KeyKind::kPassphrase, bytes32)};
    EXPECT_FALSE(opens({.key_files = {file("k", bytes32)}}));
    const auto wrong = unlock({.passphrase_files = {file("w", "donkey")}});
    ASSERT_FALSE(wrong);
    EXPECT_EQ(wrong.error().code, Code::kRefused);
    const auto none = unlock({});
    ASSERT_FALSE(none);
    EXPECT_NE(none.error().context.find("--key-file"), std::string::npos);
}

TEST_F(KeyWrapTest, AWrapIsOfItsVaultAndWhole) {
    const KeyWrap made = wrap(KeyKind::kKeyFile, bytes32);
    EXPECT_FALSE(made.unwrap(text_bytes(bytes32), Uuid::random())->has_value());
    for (auto field : {&KeyWrap::salt, &KeyWrap::nonce, &KeyWrap::wrapped}) {
        for (std::size_t at = 0; at < (made.*field).size(); ++at) {
            KeyWrap flipped = made;
            (flipped.*field)[at] ^= std::byte{1};
            EXPECT_FALSE(flipped.unwrap(text_bytes(bytes32), vault)->has_value());
        }
    }
    // The key is nowhere in it, and no two wraps are alike.
    const std::string text = to_json(VaultEncryption{{made}}).dump();
    EXPECT_EQ(text.find(bytes32), std::string::npos);
    EXPECT_NE(made.wrapped, wrap(KeyKind::kKeyFile, bytes32).wrapped);
    EXPECT_TRUE(made.unwrap(text_bytes(bytes32), vault)->has_value());
}

TEST_F(KeyWrapTest, AConfigSaysWhatItSaid) {
    encryption.wraps = {wrap(KeyKind::kPassphrase, "horse"), wrap(KeyKind::kKeyFile, bytes32)};
    const auto json = to_json(encryption);
    const auto read = encryption_from_json(json, "config");
    ASSERT_TRUE(read) << read.error().text();
    EXPECT_EQ(*read, encryption);
    const auto refused = [&](auto&& change, Code code) {
        auto changed = json;
        change(changed);
        const auto result = encryption_from_json(changed, "config");
        ASSERT_FALSE(result) << changed.dump();
        EXPECT_EQ(result.error().code, code);
    };
    // Time and memory that a config asks for are bounded.
    refused([](auto& j) { j["keys"][0]["scrypt_log2_n"] = 40; }, Code::kCorrupt);
    refused([](auto& j) { j["keys"][0]["scrypt_r"] = 1 << 20; }, Code::kCorrupt);
    refused([](auto& j) { j["keys"][0]["scrypt_p"] = 0; }, Code::kCorrupt);
    refused([](auto& j) { j["keys"][1]["wrapped"] = "00"; }, Code::kCorrupt);
    refused([](auto& j) { j["keys"][1]["kind"] = "moon"; }, Code::kCorrupt);
    refused([](auto& j) { j["keys"][1].erase("salt"); }, Code::kCorrupt);
    refused([](auto& j) { j["keys"] = nlohmann::json::array(); }, Code::kCorrupt);
    refused([](auto& j) { j["cipher"] = "rot13"; }, Code::kUnsupported);
}

TEST_F(KeyWrapTest, FilesThatCannotBeAKeyAreRefused) {
    EXPECT_TRUE(read_key_file(file("good", bytes32)));
    EXPECT_TRUE(read_key_file(file("credential", bytes32, 0440)));
    for (const mode_t mode : {0644, 0620, 0602, 0604}) {
        const auto read = read_key_file(file("open", bytes32, mode));
        ASSERT_FALSE(read) << std::oct << mode;
        EXPECT_NE(read.error().context.find("chmod 600"), std::string::npos);
    }
    EXPECT_FALSE(read_key_file(file("short", "0123456789abcdef")));
    EXPECT_FALSE(read_key_file(file("long", std::string(70'000, 'x'))));
    EXPECT_FALSE(read_key_file(std::filesystem::path(folder.path()) / "none"));
    EXPECT_FALSE(read_passphrase_file(file("empty", "\nsecond\n")));
}

}  // namespace towline::testing
