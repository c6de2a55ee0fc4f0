// SPDX-License-Identifier: Apache-2.0
// Which entries of a log count.

#include "userspace/vault/series_log.hpp"

#include <gtest/gtest.h>

namespace towline {

namespace {

using Numbers = std::vector<std::uint64_t>;

Begin begin(std::uint64_t number, Numbers points) {
    Begin entry;
    entry.number = number;
    entry.points = std::move(points);
    return entry;
}

Point point(std::uint64_t number, std::uint64_t epoch) {
    Point entry;
    entry.number = number;
    entry.begin = epoch;
    return entry;
}

Delete deleted(std::uint64_t number, Numbers points, std::uint64_t ended = 0) {
    return {.number = number, .points = std::move(points), .ended = ended};
}

}  // namespace

TEST(SeriesLog, PointsCountInOrder) {
    const auto state = judge_log({begin(1, {}), point(2, 1), begin(3, {2}), point(4, 3)});
    EXPECT_EQ(state.counting, (Numbers{2, 4}));
    EXPECT_EQ(state.outdated, Numbers{1});
    EXPECT_EQ(state.last_number, 4U);
    EXPECT_EQ(state.unfinished(), nullptr);
}

TEST(SeriesLog, ABeginWithoutItsPointIsUnfinished) {
    const auto state = judge_log({begin(1, {}), point(2, 1), begin(3, {2})});
    EXPECT_EQ(state.counting, Numbers{2});
    ASSERT_NE(state.unfinished(), nullptr);
    EXPECT_EQ(state.unfinished()->number, 3U);
}

TEST(SeriesLog, ALateWriterCountsNowhere) {
    // Epoch 1 slept while 2 began. Behind it, and in a number that became free before it.
    EXPECT_EQ(judge_log({begin(1, {}), begin(2, {}), point(3, 1)}).counting, Numbers{});
    EXPECT_EQ(judge_log({point(2, 1), begin(3, {}), point(4, 3)}).counting, Numbers{4});
    // Of an entry that is behind both, too.
    EXPECT_EQ(judge_log({begin(3, {}), point(4, 3), point(5, 1)}).counting, Numbers{4});
}

TEST(SeriesLog, DeletedPointsAreGoneThoughTheirEntriesAreThere) {
    const auto state =
        judge_log({begin(1, {}), point(2, 1), begin(3, {2}), point(4, 3), deleted(5, {4}, 3)});
    EXPECT_EQ(state.counting, Numbers{4});
    EXPECT_EQ(state.outdated, (Numbers{1, 2}));
    // And a begin that did not see the delete yet cannot bring them back: it was put behind it.
    EXPECT_EQ(judge_log({begin(3, {2}), point(4, 3), deleted(5, {4}), begin(6, {4})}).counting,
              Numbers{4});
}

TEST(SeriesLog, ARunWhosePointWasDeletedIsNotUnfinished) {
    EXPECT_EQ(judge_log({begin(1, {}), deleted(3, {}, 1)}).unfinished(), nullptr);
    EXPECT_NE(judge_log({begin(1, {}), deleted(3, {}, 0)}).unfinished(), nullptr);
}

TEST(SeriesLog, ALostEntryIsMissed) {
    const auto state = judge_log({begin(3, {2}), point(4, 3)});
    EXPECT_EQ(state.counting, (Numbers{2, 4}));
    EXPECT_EQ(state.points.size(), 1U);
}

}  // namespace towline
