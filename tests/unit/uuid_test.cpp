// SPDX-License-Identifier: Apache-2.0
// Names are read back as they were written, and nothing else is taken for one.

#include "io/uuid.hpp"

#include <set>

#include <gtest/gtest.h>

namespace towline {
namespace {

TEST(UuidTest, TextComesBack) {
    for (int i = 0; i < 100; ++i) {
        const Uuid uuid = Uuid::random();
        EXPECT_EQ(Uuid::parse(uuid.text()), uuid);
    }
    const std::string known = "123e4567-e89b-42d3-a456-426614174000";
    ASSERT_TRUE(Uuid::parse(known));
    EXPECT_EQ(Uuid::parse(known)->text(), known);
    EXPECT_EQ(Uuid::parse("123E4567-E89B-42D3-A456-426614174000")->text(), known);
}

TEST(UuidTest, RandomOnesDifferAndAreOfVersionFour) {
    std::set<Uuid> seen;
    for (int i = 0; i < 1000; ++i) {
        const Uuid uuid = Uuid::random();
        EXPECT_FALSE(uuid.is_nil());
        EXPECT_EQ(uuid.text()[14], '4');
        EXPECT_NE(std::string("89ab").find(uuid.text()[19]), std::string::npos);
        seen.insert(uuid);
    }
    EXPECT_EQ(seen.size(), 1000U);
}

TEST(UuidTest, NilIsNone) {
    EXPECT_TRUE(Uuid{}.is_nil());
    EXPECT_EQ(Uuid{}.text(), "00000000-0000-0000-0000-000000000000");
}

TEST(UuidTest, NothingElseIsTaken) {
    const std::string known = "123e4567-e89b-42d3-a456-426614174000";
    for (std::size_t at = 0; at < known.size(); ++at) {
        std::string damaged = known;
        damaged[at] = 'g';
        EXPECT_FALSE(Uuid::parse(damaged)) << damaged;
        damaged[at] = '\0';
        EXPECT_FALSE(Uuid::parse(damaged)) << at;
        EXPECT_FALSE(Uuid::parse(known.substr(0, at))) << at;
    }
    EXPECT_FALSE(Uuid::parse(known + "0"));
    EXPECT_FALSE(Uuid::parse("123e4567e89b42d3a456426614174000"));
    EXPECT_FALSE(Uuid::parse("{23e4567-e89b-42d3-a456-42661417400}"));
}

}  // namespace
}  // namespace towline
