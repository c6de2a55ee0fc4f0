// SPDX-License-Identifier: Apache-2.0
// Every choice of a user against every target.

#include "userspace/engine/compression_choice.hpp"

#include <gtest/gtest.h>

#include "transport/wire_format.hpp"

namespace towline {
namespace {

constexpr std::uint64_t kOther = 0xf0;  // of a version to come

// The codec, with the level; or what it is refused by.
std::string decoded(CodecChoice codec, std::optional<int> level, std::uint64_t capabilities) {
    const auto choice = decodable({.codec = codec, .level = level}, capabilities);
    if (!choice) return std::string(code_name(choice.error().code));
    constexpr std::string_view kNames[] = {"any", "deflate", "zstd"};
    return std::string(kNames[static_cast<int>(choice->codec)]) +
           (choice->level ? std::to_string(*choice->level) : "");
}

TEST(CompressionChoice, NothingNamedTakesWhatTheTargetHas) {
    for (const std::optional<int> level : {std::optional<int>{}, std::optional(7)}) {
        const std::string text = level ? "7" : "";
        const auto any = CodecChoice::kAuto;
        EXPECT_EQ(decoded(any, level, wire::kCapDeflate | wire::kCapZstd), "any" + text);
        EXPECT_EQ(decoded(any, level, wire::kCapDeflate | kOther), "deflate" + text);
        EXPECT_EQ(decoded(any, level, wire::kCapZstd), "zstd" + text);
        EXPECT_EQ(decoded(any, level, kOther), "any0");
    }
}

TEST(CompressionChoice, WhatIsNamedIsTakenOrRefused) {
    EXPECT_EQ(decoded(CodecChoice::kZstd, 3, wire::kCapZstd), "zstd3");
    EXPECT_EQ(decoded(CodecChoice::kZstd, 3, wire::kCapDeflate), "unsupported");
    EXPECT_EQ(decoded(CodecChoice::kDeflate, {}, wire::kCapDeflate), "deflate");
    EXPECT_EQ(decoded(CodecChoice::kDeflate, {}, wire::kCapZstd), "unsupported");
    // Without compression no codec is used.
    EXPECT_EQ(decoded(CodecChoice::kZstd, 0, 0), "zstd0");
}

}  // namespace
}  // namespace towline
