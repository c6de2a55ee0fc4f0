// SPDX-License-Identifier: Apache-2.0
// Calendar expressions against times worked out by hand, and against systemd's own program where
// that is there.

#include <cstdio>
#include <cstdlib>
#include <memory>

#include <gtest/gtest.h>

#include "io/simulated_random.hpp"
#include "tests/environment.hpp"
#include "userspace/jobs/calendar.hpp"

namespace towline {
namespace {

std::string nexts(const std::string& expression, const std::string& from, int count) {
    const auto calendar = Calendar::parse(expression);
    if (!calendar) return calendar.error().context;
    WallTime at = *parse_time(from);
    std::string text;
    for (int i = 0; i < count; ++i) {
        const auto next = calendar->next_after(at);
        if (!next) return text + "never";
        at = *next;
        text += time_text(at).substr(0, 16) + " ";
    }
    return text;
}

TEST(Calendar, PlainTimes) {
    EXPECT_EQ(nexts("hourly UTC", "2026-01-01T00:00:00Z", 2), "2026-01-01T01:00 2026-01-01T02:00 ");
    EXPECT_EQ(nexts("Mon..Fri 08:30 UTC", "2026-01-02T08:30:00Z", 2),
              "2026-01-05T08:30 2026-01-06T08:30 ");
    EXPECT_EQ(nexts("*-02-29 UTC", "2026-01-01T00:00:00Z", 2),
              "2028-02-29T00:00 2032-02-29T00:00 ");
    EXPECT_EQ(nexts("*-12~23/5 12:00 UTC", "2026-11-20T00:00:00Z", 3),
              "2026-12-09T12:00 2026-12-14T12:00 2026-12-19T12:00 ");
    EXPECT_EQ(nexts("*-12~1..6/3 12:00 UTC", "2026-11-20T00:00:00Z", 3),
              "2026-12-28T12:00 2026-12-31T12:00 2027-12-28T12:00 ");
    EXPECT_EQ(nexts("*-*~01 12:00 UTC", "2026-01-31T12:00:00Z", 2),
              "2026-02-28T12:00 2026-03-31T12:00 ");
    EXPECT_EQ(nexts("2027-05-06 UTC", "2026-01-01T00:00:00Z", 2), "2027-05-06T00:00 never");
    EXPECT_EQ(nexts("*-02-30 UTC", "2026-01-01T00:00:00Z", 1), "never");
    EXPECT_EQ(nexts("*:00/20 UTC", "2026-01-01T00:19:59Z", 3),
              "2026-01-01T00:20 2026-01-01T00:40 2026-01-01T01:00 ");
}

TEST(Calendar, ATimeThatTheClockSkipsComesWhenItHasMovedOn) {
    EXPECT_EQ(nexts("02:30 Europe/Berlin", "2026-03-28T00:00:00Z", 3),
              "2026-03-28T01:30 2026-03-29T01:00 2026-03-30T00:30 ");
    EXPECT_EQ(nexts("*:30 Europe/Berlin", "2026-03-29T00:00:00Z", 3),
              "2026-03-29T00:30 2026-03-29T01:30 2026-03-29T02:30 ");
}

TEST(Calendar, ATimeThatComesTwiceIsMeantOnceUnlessEveryHourIs) {
    EXPECT_EQ(nexts("02:30 Europe/Berlin", "2026-10-24T00:00:00Z", 3),
              "2026-10-24T00:30 2026-10-25T00:30 2026-10-26T01:30 ");
    EXPECT_EQ(nexts("*:30 Europe/Berlin", "2026-10-24T23:59:59Z", 4),
              "2026-10-25T00:30 2026-10-25T01:30 2026-10-25T02:30 2026-10-25T03:30 ");
    // Half an hour, and the day that a country left out.
    EXPECT_EQ(nexts("01:45 Australia/Lord_Howe", "2026-04-04T00:00:00Z", 2),
              "2026-04-04T14:45 2026-04-05T15:15 ");
    EXPECT_EQ(nexts("2011-12-30 12:00 Pacific/Apia", "2011-12-01T00:00:00Z", 1),
              "2011-12-30T10:00 ");
}

TEST(Calendar, WhatIsNoExpressionIsRefused) {
    for (const char* text : {"",
                             " ",
                             "25:00",
                             "*:60",
                             "*-13-01",
                             "*-*-32",
                             "12",
                             "Mon..",
                             "Fri..Mon 10:00",
                             "1:2:3:4",
                             "*-*-* *:*/0",
                             "08:00 Nowhere/Land",
                             "x:00",
                             "*-*-*-* 10:00",
                             "10:00 11:00",
                             "*:00/",
                             "5..3:00",
                             "1969-01-01",
                             "UTC",
                             "99999999999999:00"}) {
        const auto parsed = Calendar::parse(text);
        ASSERT_FALSE(parsed) << text;
        EXPECT_EQ(parsed.error().code, Code::kInvalid);
    }
    EXPECT_FALSE(Calendar::parse(std::string(300, '*')));
}

TEST(Calendar, TimesAndSpansAreReadAndWritten) {
    for (const char* text : {"2026-11-26T05:46:06.123Z", "1999-12-31T23:59:59.000Z"})
        EXPECT_EQ(time_text(*parse_time(text)), text);
    EXPECT_EQ(time_text(*parse_time("2026-01-01T01:30:00+02:00")), "2025-12-31T23:30:00.000Z");
    EXPECT_EQ(time_text(*parse_time("1700000000")), "2023-11-14T22:13:20.000Z");
    for (const char* text :
         {"", "now", "2026-01-01", "2026-13-01T00:00Z", "2026-01-01T25:00Z", "2026-01-01T00:00",
          "2026-02-30T00:00Z", "99999999999999", "2026-01-01T00:00Zx"})
        EXPECT_FALSE(parse_time(text)) << text;
    for (const char* text : {"30s", "1h 30min", "90d", "1d 2h 3min 4s"})
        EXPECT_EQ(span_text(*parse_span(text)), text);
    for (const char* text : {"", "30", "s", "-1s", "1y", "999999999d", "1h x"})
        EXPECT_FALSE(parse_span(text)) << text;
}

// --- beside systemd

std::string draw_part(SimulatedRandom& random, unsigned low, unsigned high) {
    const auto value = [&] { return std::to_string(random.between(low, high)); };
    switch (random.below(5)) {
        case 0:
            return value();
        case 1:
            return std::to_string(random.between(low, high / 2)) + ".." +
                   std::to_string(random.between(high / 2, high));
        case 2:
            return value() + "/" + std::to_string(random.between(1, 7));
        case 3:
            return value() + "," + value();
        default:
            return "*";
    }
}

std::string draw_expression(SimulatedRandom& random) {
    static constexpr std::array kDays{"", "", "", "Mon ", "Sat,Sun ", "Tue..Thu ", "Wed,Fri.. "};
    static constexpr std::array kZones{" UTC", " Europe/Berlin", " America/New_York",
                                       " Asia/Kolkata"};
    std::string text = kDays.at(random.below(6));
    text += "*-" + draw_part(random, 1, 12) + (random.chance(0.2) ? "~" : "-") +
            draw_part(random, 1, 28) + " ";
    text += draw_part(random, 0, 23) + ":" + draw_part(random, 0, 59) + ":" +
            (random.chance(0.7) ? "00" : draw_part(random, 0, 59));
    return text + kZones.at(random.below(kZones.size()));
}

std::string run(const std::string& command) {
    const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
    std::string text(1 << 16, '\0');
    text.resize(std::fread(text.data(), 1, text.size(), pipe.get()));
    return text;
}

// "… elapse: Sat 2026-03-28 01:30:00 UTC" and "Iter. #2: …", in TZ=UTC.
std::vector<std::string> systemd_nexts(const std::string& text) {
    std::vector<std::string> found;
    for (std::size_t at = text.find(" UTC\n"); at != std::string::npos;
         at = text.find(" UTC\n", at + 1)) {
        const std::string stamp = text.substr(at - 19, 19);
        const std::size_t line = text.rfind('\n', at);
        const std::string head = text.substr(line + 1, 16);
        if (head.find("Next elapse") != std::string::npos ||
            head.find("Iter.") != std::string::npos)
            found.push_back(stamp);
    }
    return found;
}

TEST(Calendar, SaysWhatSystemdSaysAwayFromChangesOfTheClock) {
    if (std::system("systemd-analyze --version >/dev/null 2>&1") != 0)
        GTEST_SKIP() << "no systemd-analyze here";
    const auto rounds = static_cast<int>(testing::from_environment("TOWLINE_COUNT", 60));
    SimulatedRandom random(7);
    int compared = 0;
    for (int round = 0; round < rounds; ++round) {
        const std::string expression = draw_expression(random);
        // From mid-November to mid-March no clock of these zones is set.
        const std::string base = "2026-11-" + std::to_string(random.between(16, 30)) + "T0" +
                                 std::to_string(random.below(10)) + ":17:31Z";
        const std::string command = "TZ=UTC systemd-analyze calendar --iterations=5 --base-time='" +
                                    base.substr(0, 10) + " " + base.substr(11, 8) + " UTC' '" +
                                    expression + "' 2>/dev/null";
        const auto theirs = systemd_nexts(run(command));
        const auto calendar = Calendar::parse(expression);
        ASSERT_TRUE(calendar) << expression << ": " << calendar.error().context;
        WallTime at = *parse_time(base);
        for (const std::string& stamp : theirs) {
            if (stamp > "2027-03-10") break;
            const auto next = calendar->next_after(at);
            ASSERT_TRUE(next) << expression << " after " << time_text(at) << ": not " << stamp;
            at = *next;
            std::string ours = time_text(at).substr(0, 19);
            ours[10] = ' ';
            ASSERT_EQ(ours, stamp) << expression << " from " << base;
            ++compared;
        }
    }
    EXPECT_GT(compared, rounds);
}

}  // namespace
}  // namespace towline
