// SPDX-License-Identifier: Apache-2.0
// Where blocks of a print are, in memory that has a bound.

#include "userspace/vault/print_table.hpp"

#include <map>
#include <random>

#include <gtest/gtest.h>

namespace towline::testing {

TEST(PrintTable, FindsWhatWasAddedLastAndNothingElse) {
    PrintTable table;
    std::mt19937_64 random(1);
    std::map<std::uint64_t, PrintTable::Place> known;
    for (std::uint32_t i = 0; i < 50'000; ++i) {
        // Some come again, some lie in the same slot.
        const std::uint64_t print = 1 + (random() % 3 == 0 ? random() % 100 : random());
        known[print] = {.segment = i, .origin = i * 2};
        table.add(print, known[print]);
    }
    EXPECT_EQ(table.size(), known.size());
    for (const auto& [print, place] : known)
        ASSERT_EQ(table.find(print), place);
    for (int i = 0; i < 10'000; ++i) {
        const std::uint64_t print = random();
        ASSERT_EQ(table.find(print).has_value(), known.contains(print));
    }
    EXPECT_FALSE(table.find(0));
}

TEST(PrintTable, DoesNotGrowPastItsBound) {
    PrintTable table(1 << 12);
    for (std::uint64_t print = 1; print < 100'000; ++print)
        table.add(print * 0x9e3779b97f4a7c15, {.segment = 1});
    EXPECT_TRUE(table.full());
    EXPECT_EQ(table.size(), 3072U);
    EXPECT_EQ(table.memory_bytes(), std::size_t{16} << 12);
    // What was there can still move; what is new has no room.
    table.add(0x9e3779b97f4a7c15, {.segment = 2});
    EXPECT_EQ(table.find(0x9e3779b97f4a7c15)->segment, 2U);
    EXPECT_FALSE(table.find(99'999 * 0x9e3779b97f4a7c15));
    EXPECT_LE(PrintTable::kSlotsMax * 16, std::size_t{32} << 20);
}

}  // namespace towline::testing
