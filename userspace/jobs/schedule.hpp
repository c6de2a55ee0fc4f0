// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "userspace/jobs/calendar.hpp"

namespace towline {

// When a job is due of itself.
struct Schedule {
    enum class Kind { kManual, kOnce, kEvery, kCalendar, kContinuous };

    static Schedule manual() { return {}; }
    static Schedule once(WallTime at);
    static Result<Schedule> every(WallSpan interval);  // 30 s to 90 d
    static Result<Schedule> on_calendar(const std::string& expression);
    static Result<Schedule> continuous(WallSpan lag);  // 1 s to 1 d

    // The regular time after `now`. `anchor` is the time of the grid that `every` keeps to.
    std::optional<WallTime> next_after(WallTime now, WallTime anchor) const;

    bool operator==(const Schedule& other) const;

    Kind kind = Kind::kManual;
    WallSpan span{};                   // kEvery: the interval; kContinuous: the wanted lag
    WallTime at{};                     // kOnce
    std::string expression;            // kCalendar
    std::optional<Calendar> calendar;  // kCalendar: the expression, understood
};

// When a job is due for the first time.
struct Start {
    enum class Kind {
        kSchedule,  // nothing was said: at once, or when the calendar says
        kNow,
        kAt,
        kManual,         // when somebody resumes it
        kTestOnly,       // a test at once; then when somebody resumes it
        kTestThenStart,  // a test at once; if that is good, as with nothing said
    };
    bool tests() const { return kind == Kind::kTestOnly || kind == Kind::kTestThenStart; }

    Kind kind = Kind::kSchedule;
    WallTime at{};

    bool operator==(const Start&) const = default;
};

}  // namespace towline
