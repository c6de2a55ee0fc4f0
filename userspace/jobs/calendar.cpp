// SPDX-License-Identifier: Apache-2.0
// The search walks the spans between changes of the clock: within one the offset is fixed, so that
// local time only ever grows there.

#include "userspace/jobs/calendar.hpp"

#include <algorithm>
#include <date/tz.h>

namespace towline {

namespace {

using std::chrono::days;
using std::chrono::hours;
using std::chrono::minutes;
using Seconds = std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr std::chrono::year kYearMax{2199};
const std::chrono::local_seconds kEnd{
    std::chrono::local_days(kYearMax / std::chrono::December / 31) + days(1)};

}  // namespace

bool Calendar::Series::has(int value) const {
    const auto [low, high] = std::minmax(first, last);
    return value >= low && value <= high && (value - first) % step == 0;
}

bool Calendar::matches(const Part& part, int value) {
    return part.empty() || std::any_of(part.begin(), part.end(),
                                       [&](const Series& each) { return each.has(value); });
}

bool Calendar::one_hour() const {
    return hours_.size() == 1 &&
           (hours_[0].first == hours_[0].last || hours_[0].first + hours_[0].step > hours_[0].last);
}

bool Calendar::day_matches(std::chrono::year_month_day date) const {
    const std::chrono::weekday weekday{std::chrono::sys_days(date)};
    if (weekdays_ != 0 && ((weekdays_ >> (weekday.iso_encoding() - 1)) & 1U) == 0) return false;
    int day = static_cast<int>(static_cast<unsigned>(date.day()));
    if (from_month_end_) {
        const auto last =
            std::chrono::year_month_day_last(date.year(), date.month() / std::chrono::last);
        day = static_cast<int>(static_cast<unsigned>(last.day())) - day + 1;
    }
    return matches(days_, day);
}

std::optional<Calendar::LocalSeconds> Calendar::next_clock(LocalSeconds midnight,
                                                           LocalSeconds from) const {
    for (int hour = 0; hour < 24; ++hour) {
        const LocalSeconds at_hour = midnight + hours(hour);
        if (at_hour + hours(1) <= from || !matches(hours_, hour)) continue;
        for (int minute = 0; minute < 60; ++minute) {
            const LocalSeconds at_minute = at_hour + minutes(minute);
            if (at_minute + minutes(1) <= from || !matches(minutes_, minute)) continue;
            for (int second = 0; second < 60; ++second) {
                const LocalSeconds at = at_minute + Seconds(second);
                if (at >= from && matches(seconds_, second)) return at;
            }
        }
    }
    return std::nullopt;
}

std::optional<Calendar::LocalSeconds> Calendar::next_local(LocalSeconds from,
                                                           LocalSeconds end) const {
    auto day = std::chrono::floor<days>(from);
    while (LocalSeconds(day) < end) {
        const std::chrono::year_month_day date(day);
        if (!matches(years_, static_cast<int>(date.year()))) {
            day = std::chrono::local_days((date.year() + std::chrono::years(1)) /
                                          std::chrono::January / 1);
            continue;
        }
        if (!matches(months_, static_cast<int>(static_cast<unsigned>(date.month())))) {
            const auto month = date.year() / date.month() + std::chrono::months(1);
            day = std::chrono::local_days(month / 1);
            continue;
        }
        if (day_matches(date)) {
            const auto found = next_clock(day, from);
            if (found) return *found < end ? found : std::nullopt;
        }
        day += days(1);
    }
    return std::nullopt;
}

std::optional<WallTime> Calendar::next_after(WallTime after) const {
    sys_seconds at = std::chrono::floor<Seconds>(after) + Seconds(1);
    while (true) {
        const date::sys_info span = zone_->get_info(at);
        const LocalSeconds local(at.time_since_epoch() + span.offset);
        if (local >= kEnd) return std::nullopt;
        const LocalSeconds local_end =
            std::min(kEnd, LocalSeconds(span.end.time_since_epoch() + span.offset));
        if (const auto found = next_local(local, local_end)) {
            const sys_seconds utc(found->time_since_epoch() - span.offset);
            // Was it this time of day already, before the clock was set back?
            const bool again =
                span.begin > sys_seconds(Seconds(0)) &&
                utc + span.offset < span.begin + zone_->get_info(span.begin - Seconds(1)).offset;
            if (!again || !one_hour()) return WallTime(utc);
            at = utc + Seconds(1);
            continue;
        }
        if (local_end >= kEnd) return std::nullopt;
        // What the clock skips when this span ends is due at its end.
        const Seconds next_offset = zone_->get_info(span.end).offset;
        const LocalSeconds skipped_end(span.end.time_since_epoch() + next_offset);
        if (one_hour() && next_local(local_end, skipped_end)) return WallTime(span.end);
        at = span.end;
    }
}

}  // namespace towline
