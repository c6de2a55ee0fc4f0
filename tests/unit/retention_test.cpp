// SPDX-License-Identifier: Apache-2.0

#include "userspace/vault/retention.hpp"

#include <gtest/gtest.h>

namespace towline {

namespace {

// A point a line, the oldest first; numbered from 1, an hour of the vault's age apart.
std::vector<Point> points_at(const std::vector<std::string>& times) {
    std::vector<Point> points;
    for (const std::string& each : times) {
        Point point;
        point.number = points.size() + 1;
        point.created_at = each;
        point.clock.seconds = point.number * 3600;
        points.push_back(point);
    }
    return points;
}

using Numbers = std::vector<std::uint64_t>;

constexpr std::uint64_t kNow = 100 * 3600;

}  // namespace

TEST(Retention, KeepsTheNewest) {
    const auto points = points_at({"2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z",
                                   "2026-01-03T00:00:00Z", "2026-01-04T00:00:00Z"});
    EXPECT_EQ(decide_retention({.last = 3}, {}, points, kNow).deleted, Numbers{1});
    EXPECT_EQ(decide_retention({.last = 9}, {}, points, kNow).deleted, Numbers{});
    EXPECT_EQ(decide_retention({}, {}, points, kNow).deleted, Numbers{});
    EXPECT_EQ(decide_retention({.last = 3}, {}, {}, kNow).deleted, Numbers{});
}

TEST(Retention, TiersKeepTheNewestOfEachSpan) {
    const auto points = points_at({
        "2026-01-30T10:00:00Z",  // 1
        "2026-01-31T10:00:00Z",  // 2: the last of January
        "2026-02-01T10:00:00Z",  // 3: a Sunday
        "2026-02-02T09:10:00Z",  // 4: a Monday
        "2026-02-02T09:50:00Z",  // 5
        "2026-02-02T10:05:00Z",  // 6
    });
    EXPECT_EQ(decide_retention({.hourly = 2}, {}, points, kNow).deleted, (Numbers{1, 2, 3, 4}));
    EXPECT_EQ(decide_retention({.daily = 2}, {}, points, kNow).deleted, (Numbers{1, 2, 4, 5}));
    EXPECT_EQ(decide_retention({.weekly = 2}, {}, points, kNow).deleted, (Numbers{1, 2, 4, 5}));
    EXPECT_EQ(decide_retention({.monthly = 2}, {}, points, kNow).deleted, (Numbers{1, 3, 4, 5}));
    EXPECT_EQ(decide_retention({.last = 2, .monthly = 2}, {}, points, kNow).deleted,
              (Numbers{1, 3, 4}));
}

TEST(Retention, AClockInTheFutureDeletesNothingMore) {
    auto times = std::vector<std::string>{"2026-02-01T10:00:00Z", "2026-02-02T10:00:00Z",
                                          "2026-02-03T10:00:00Z"};
    const auto before = decide_retention({.daily = 3}, {}, points_at(times), kNow).deleted;
    EXPECT_EQ(before, Numbers{});
    times.emplace_back("2099-01-01T00:00:00Z");
    // One more day that has a point takes one place, as any day does.
    EXPECT_EQ(decide_retention({.daily = 3}, {}, points_at(times), kNow).deleted, Numbers{1});
    EXPECT_EQ(decide_retention({.daily = 4}, {}, points_at(times), kNow).deleted, Numbers{});
}

TEST(Retention, TheFloorHolds) {
    const auto points = points_at({"2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z",
                                   "2026-01-03T00:00:00Z", "2026-01-04T00:00:00Z"});
    VaultConfig floor;
    floor.floor_count = 3;
    const auto by_count = decide_retention({.last = 1}, floor, points, kNow);
    EXPECT_EQ(by_count.deleted, Numbers{1});
    EXPECT_EQ(by_count.by_floor, (Numbers{2, 3}));
    floor = {};
    floor.floor_seconds = 3 * 3600;
    // By the vault's own age: now is that of point 5.
    EXPECT_EQ(decide_retention({.last = 1}, floor, points, 5 * 3600).deleted, (Numbers{1, 2}));
    EXPECT_EQ(decide_retention({.last = 1}, floor, points, kNow).deleted, (Numbers{1, 2, 3}));
}

TEST(Retention, APointOfNoKnownTimeStays) {
    const auto points = points_at({"nonsense", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"});
    EXPECT_EQ(decide_retention({.daily = 1}, {}, points, kNow).deleted, Numbers{2});
}

TEST(VaultClock, NeverRunsFasterThanTime) {
    const VaultClock first = advance({}, "boot-a", 100);
    EXPECT_EQ(first.seconds, 100U);
    EXPECT_EQ(advance(first, "boot-a", 160).seconds, 160U);
    EXPECT_EQ(advance(first, "boot-b", 30).seconds, 130U);
    EXPECT_EQ(advance(first, "boot-a", 90).seconds, 190U);  // a boot id that came twice
}

}  // namespace towline
