// SPDX-License-Identifier: Apache-2.0
// Pure: what is due when, from what was due last. Nothing here knows what time it is.

#include "userspace/jobs/schedule.hpp"

namespace towline {

namespace {

constexpr WallSpan kEveryMin = std::chrono::seconds(30);
constexpr WallSpan kEveryMax = std::chrono::days(90);
constexpr WallSpan kLagMin = std::chrono::seconds(1);
constexpr WallSpan kLagMax = std::chrono::days(1);

}  // namespace

Schedule Schedule::once(WallTime at) {
    Schedule schedule;
    schedule.kind = Kind::kOnce;
    schedule.at = at;
    return schedule;
}

Result<Schedule> Schedule::every(WallSpan interval) {
    if (interval < kEveryMin || interval > kEveryMax)
        return fail(Code::kInvalid, "an interval is 30 s at least and 90 d at most");
    Schedule schedule;
    schedule.kind = Kind::kEvery;
    schedule.span = interval;
    return schedule;
}

Result<Schedule> Schedule::on_calendar(const std::string& expression) {
    Schedule schedule;
    schedule.calendar = TRY(Calendar::parse(expression));
    schedule.kind = Kind::kCalendar;
    schedule.expression = expression;
    return schedule;
}

Result<Schedule> Schedule::continuous(WallSpan lag) {
    if (lag < kLagMin || lag > kLagMax)
        return fail(Code::kInvalid, "a wanted lag is 1 s at least and 1 d at most");
    Schedule schedule;
    schedule.kind = Kind::kContinuous;
    schedule.span = lag;
    return schedule;
}

std::optional<WallTime> Schedule::next_after(WallTime now, WallTime anchor) const {
    if (kind == Kind::kCalendar) return calendar->next_after(now);
    if (kind != Kind::kEvery) return std::nullopt;
    // An anchor in the future is one of a clock that was set back: the grid begins anew.
    if (anchor > now) return now + span;
    return anchor + ((now - anchor) / span + 1) * span;
}

bool Schedule::operator==(const Schedule& other) const {
    return kind == other.kind && span == other.span && at == other.at &&
           expression == other.expression;
}

}  // namespace towline
