// SPDX-License-Identifier: Apache-2.0
// A change list that is read wrongly is a change lost: what is taken, and what is refused by line.

#include "cbt/extent.hpp"

#include <random>
#include <set>

#include <gtest/gtest.h>

namespace towline {
namespace {

constexpr std::uint64_t kVolume = 1 << 20;

TEST(ParseExtents, TakesDecimalHexBlanksAndComments) {
    const auto extents = parse_extents(
        "# offset length\n\n0 4096\n  0x2000\t0X1000 \r\n65536 0\n#1 2\n8 8", kVolume);
    ASSERT_TRUE(extents);
    EXPECT_EQ(*extents, (std::vector<Extent>{{0, 4096}, {0x2000, 0x1000}, {65536, 0}, {8, 8}}));
}

TEST(ParseExtents, AnEmptyListIsAListOfNothing) {
    EXPECT_TRUE(parse_extents("", kVolume)->empty());
    EXPECT_TRUE(parse_extents("\n\n# none", kVolume)->empty());
}

TEST(ParseExtents, TheLastByteOfTheVolumeIsIn) {
    EXPECT_TRUE(parse_extents("1048575 1", kVolume));
    EXPECT_TRUE(parse_extents("1048576 0", kVolume));
}

TEST(ParseExtents, NamesTheLineItRefuses) {
    const char* const bad[] = {
        "1",
        "1 2 3",
        "a 1",
        "1 -1",
        "+1 1",
        "1,2",
        "0x 1",
        "1 0x",
        "1 2k",
        "0x1g 1",
        "1 1 # x",
        "1048576 1",
        "0 1048577",
        "1048577 0",
        "18446744073709551615 2",
        "18446744073709551616 1",
        "4096 18446744073709551615",
        "1 0x10000000000000000",
    };
    for (const char* line : bad) {
        const auto extents =
            parse_extents("# good\n0 1\n" + std::string(line) + "\n5 5\n", kVolume);
        ASSERT_FALSE(extents) << line;
        EXPECT_EQ(extents.error().code, Code::kInvalid) << line;
        EXPECT_NE(extents.error().context.find("line 3:"), std::string::npos) << line;
    }
}

TEST(ParseExtents, ANulByteIsNoBlank) {
    EXPECT_FALSE(parse_extents(std::string_view("1 1\0", 4), kVolume));
}

TEST(NormalizedExtents, CoverTheSameBytesInOrderAndApart) {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        std::mt19937_64 random(seed);
        std::vector<Extent> extents(random() % 20);
        std::set<std::uint64_t> bytes;
        for (Extent& extent : extents) {
            extent = {random() % 300, random() % 20};
            for (auto at = extent.offset_bytes; at < extent.end_bytes(); ++at)
                bytes.insert(at);
        }
        const std::vector<Extent> tidy = normalized(extents);
        std::set<std::uint64_t> covered;
        for (std::size_t n = 0; n < tidy.size(); ++n) {
            ASSERT_GT(tidy[n].length_bytes, 0u);
            if (n > 0) {
                ASSERT_GT(tidy[n].offset_bytes, tidy[n - 1].end_bytes()) << "seed " << seed;
            }
            for (auto at = tidy[n].offset_bytes; at < tidy[n].end_bytes(); ++at)
                covered.insert(at);
        }
        ASSERT_EQ(covered, bytes) << "seed " << seed;
        ASSERT_EQ(total_bytes(tidy), bytes.size()) << "seed " << seed;
    }
}

}  // namespace
}  // namespace towline
