// SPDX-License-Identifier: Apache-2.0
// Fields come back as they were put, and a truncated input is noticed, never read past.

#include "io/bytes.hpp"

#include <array>

#include <gtest/gtest.h>

namespace towline {
namespace {

std::vector<std::byte> sample() {
    ByteWriter writer;
    writer.put(std::uint8_t{0x11}).put(std::uint16_t{0x2233}).put(std::uint32_t{0x44556677});
    writer.put(std::uint64_t{0x8899aabbccddeeff}).put_string("towline");
    return writer.take();
}

bool read_sample(ByteReader& reader) {
    const bool same = reader.get<std::uint8_t>() == 0x11 && reader.get<std::uint16_t>() == 0x2233 &&
                      reader.get<std::uint32_t>() == 0x44556677 &&
                      reader.get<std::uint64_t>() == 0x8899aabbccddeeff &&
                      reader.get_string(100) == "towline";
    return same && reader.finished();
}

TEST(BytesTest, FieldsComeBack) {
    const auto bytes = sample();
    ByteReader reader(bytes);
    EXPECT_TRUE(read_sample(reader));
}

TEST(BytesTest, FieldsAreLittleEndian) {
    ByteWriter writer;
    writer.put(std::uint32_t{0x01020304});
    EXPECT_EQ(writer.bytes(),
              (std::vector{std::byte{4}, std::byte{3}, std::byte{2}, std::byte{1}}));
    std::array<std::byte, 2> stored{};
    store_le(stored.data(), std::uint16_t{0x0102});
    EXPECT_EQ(stored[0], std::byte{2});
    EXPECT_EQ(load_le<std::uint16_t>(stored.data()), 0x0102);
}

TEST(BytesTest, EveryTruncationIsNoticed) {
    const auto bytes = sample();
    for (std::size_t length = 0; length < bytes.size(); ++length) {
        // A copy of just this length, so that a sanitizer sees a read past it.
        const std::vector<std::byte> cut(bytes.begin(), bytes.begin() + static_cast<long>(length));
        ByteReader reader(cut);
        EXPECT_FALSE(read_sample(reader)) << length;
        EXPECT_FALSE(reader.finished());
    }
}

TEST(BytesTest, WhatIsLeftOverIsNoticed) {
    auto bytes = sample();
    bytes.push_back(std::byte{0});
    ByteReader reader(bytes);
    EXPECT_FALSE(read_sample(reader));
    EXPECT_FALSE(reader.bad());
    EXPECT_EQ(reader.rest_bytes(), 1U);
}

TEST(BytesTest, ABadReaderStaysBadAndGivesZeros) {
    const std::vector<std::byte> bytes(3, std::byte{0xff});
    ByteReader reader(bytes);
    EXPECT_EQ(reader.get<std::uint32_t>(), 0U);
    EXPECT_EQ(reader.get<std::uint8_t>(), 0U);
    EXPECT_TRUE(reader.bad());
}

TEST(BytesTest, AStringLongerThanAllowedIsBad) {
    ByteWriter writer;
    writer.put_string("12345");
    ByteReader reader(writer.bytes());
    EXPECT_EQ(reader.get_string(4), "");
    EXPECT_TRUE(reader.bad());
}

}  // namespace
}  // namespace towline
