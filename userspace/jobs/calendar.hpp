// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "io/result.hpp"
#include "userspace/jobs/wall_time.hpp"

namespace date {
class time_zone;  // NOLINT(readability-identifier-naming): the library's
}

namespace towline {

// When a job is due, in the form of systemd.time(7): "Mon..Fri *-*-* 02:30", "hourly",
// "*-02~01 Europe/Berlin". Without a zone at its end the machine's own is meant.
//
// Where clocks change, the aim is that nobody misses a run: a time of one hour that the clock skips
// comes when it has moved on, and one that comes twice is meant once; an expression of several
// hours
// ("*:00") follows the time that really passes. (systemd drops the first and the hour of the last.)
class Calendar {
  public:
    static Result<Calendar> parse(std::string_view text);

    // The first time after `after`; nothing: never again.
    std::optional<WallTime> next_after(WallTime after) const;

  private:
    using LocalSeconds = std::chrono::local_seconds;
    // first, first + step, … up to last.
    struct Series {
        int first = 0;
        int last = 0;  // below `first`: steps go down, towards the month's end
        int step = 1;
        bool has(int value) const;
    };
    // Empty: every value.
    using Part = std::vector<Series>;
    friend class CalendarParser;

    static bool matches(const Part& part, int value);
    bool day_matches(std::chrono::year_month_day date) const;
    bool one_hour() const;
    // The first match from `from` on, before `end`.
    std::optional<LocalSeconds> next_local(LocalSeconds from, LocalSeconds end) const;
    std::optional<LocalSeconds> next_clock(LocalSeconds midnight, LocalSeconds from) const;

    unsigned weekdays_ = 0;  // a bit each, Monday the lowest; 0: every day
    Part years_, months_, days_, hours_, minutes_, seconds_;
    bool from_month_end_ = false;  // days_ count back from the month's last, which is 1
    const date::time_zone* zone_ = nullptr;
};

}  // namespace towline
