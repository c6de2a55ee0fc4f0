// SPDX-License-Identifier: Apache-2.0
// Times and spans as people and programs write them. What is accepted is written out, so that
// nothing depends on the locale of the process.

#include "userspace/jobs/wall_time.hpp"

#include <array>
#include <charconv>
#include <cstdio>
#include <ctime>

namespace towline {

namespace {

using std::chrono::days;
using std::chrono::hours;
using std::chrono::minutes;

constexpr WallSpan kSpanMax = days(1000);
// The year 9999: four digits are what the text has room for.
constexpr std::int64_t kEpochSecondsMax = 253'402'300'799;

// Digits from `text`, at least one and at most `digits_max`; what was read is taken off.
std::optional<std::int64_t> take_number(std::string_view& text, std::size_t digits_max) {
    std::size_t count = 0;
    while (count < text.size() && count < digits_max && text[count] >= '0' && text[count] <= '9')
        ++count;
    if (count == 0) return std::nullopt;
    std::int64_t value = 0;
    const auto read = std::from_chars(text.data(), text.data() + count, value);
    if (read.ec != std::errc{}) return std::nullopt;
    text.remove_prefix(count);
    return value;
}

bool take(std::string_view& text, char wanted) {
    if (text.empty() || text.front() != wanted) return false;
    text.remove_prefix(1);
    return true;
}

std::optional<int> take_two(std::string_view& text) {
    if (text.size() < 2 || text[1] < '0' || text[1] > '9') return std::nullopt;
    const auto value = take_number(text, 2);
    if (!value) return std::nullopt;
    return static_cast<int>(*value);
}

std::optional<std::chrono::sys_days> take_date(std::string_view& text) {
    if (text.size() < 10 || text[4] != '-') return std::nullopt;
    const auto year = take_number(text, 4);
    if (!year || !take(text, '-')) return std::nullopt;
    const auto month = take_two(text);
    if (!month || !take(text, '-')) return std::nullopt;
    const auto day = take_two(text);
    if (!day) return std::nullopt;
    const std::chrono::year_month_day date(std::chrono::year(static_cast<int>(*year)),
                                           std::chrono::month(static_cast<unsigned>(*month)),
                                           std::chrono::day(static_cast<unsigned>(*day)));
    if (!date.ok()) return std::nullopt;
    return std::chrono::sys_days(date);
}

// "HH:MM[:SS[.fff]]"
std::optional<WallSpan> take_clock(std::string_view& text) {
    const auto hour = take_two(text);
    if (!hour || *hour > 23 || !take(text, ':')) return std::nullopt;
    const auto minute = take_two(text);
    if (!minute || *minute > 59) return std::nullopt;
    WallSpan span = hours(*hour) + minutes(*minute);
    if (!take(text, ':')) return span;
    const auto second = take_two(text);
    if (!second || *second > 59) return std::nullopt;
    span += std::chrono::seconds(*second);
    if (!take(text, '.')) return span;
    const std::size_t before = text.size();
    const auto fraction = take_number(text, 9);
    if (!fraction) return std::nullopt;
    double thousandths = static_cast<double>(*fraction) * 1000;
    for (std::size_t digit = before - text.size(); digit > 0; --digit)
        thousandths /= 10;
    return span + WallSpan(static_cast<std::int64_t>(thousandths));
}

// "Z", "+02:00", "+0200".
std::optional<WallSpan> take_offset(std::string_view& text) {
    if (take(text, 'Z')) return WallSpan{};
    const bool west = !text.empty() && text.front() == '-';
    if (!take(text, '+') && !take(text, '-')) return std::nullopt;
    const auto hour = take_two(text);
    if (!hour || *hour > 23) return std::nullopt;
    take(text, ':');
    const auto minute = take_two(text);
    if (!minute || *minute > 59) return std::nullopt;
    const WallSpan span = hours(*hour) + minutes(*minute);
    return west ? -span : span;
}

struct Unit {
    std::string_view name;
    WallSpan span;
};

constexpr std::array kUnits{
    Unit{"ms", WallSpan(1)}, Unit{"s", WallSpan(1000)}, Unit{"sec", WallSpan(1000)},
    Unit{"m", minutes(1)},   Unit{"min", minutes(1)},   Unit{"h", hours(1)},
    Unit{"hr", hours(1)},    Unit{"d", days(1)},        Unit{"day", days(1)},
    Unit{"days", days(1)},   Unit{"w", days(7)},        Unit{"week", days(7)},
    Unit{"weeks", days(7)},
};

std::optional<WallSpan> unit_span(std::string_view name) {
    for (const Unit& unit : kUnits)
        if (unit.name == name) return unit.span;
    return std::nullopt;
}

}  // namespace

Clocks clocks_now() {
    // The time that a machine slept has passed too: it is no jump of the clock on the wall.
    timespec boot{};
    ::clock_gettime(CLOCK_BOOTTIME, &boot);
    return {.wall = std::chrono::floor<WallSpan>(std::chrono::system_clock::now()),
            .monotonic = Instant(std::chrono::seconds(boot.tv_sec) + Duration(boot.tv_nsec))};
}

std::string time_text(WallTime time) {
    const auto day = std::chrono::floor<days>(time);
    const std::chrono::year_month_day date(day);
    const std::chrono::hh_mm_ss clock(time - day);
    char text[64];
    std::snprintf(
        text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ", static_cast<int>(date.year()),
        static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
        static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
        static_cast<int>(clock.seconds().count()), static_cast<int>(clock.subseconds().count()));
    return text;
}

std::optional<WallTime> parse_time(std::string_view text) {
    std::string_view rest = text;
    if (const auto seconds = take_number(rest, 12); seconds && rest.empty()) {
        if (*seconds > kEpochSecondsMax) return std::nullopt;
        return WallTime(std::chrono::seconds(*seconds));
    }
    rest = text;
    const auto date = take_date(rest);
    if (!date || (!take(rest, 'T') && !take(rest, ' '))) return std::nullopt;
    const auto clock = take_clock(rest);
    if (!clock) return std::nullopt;
    const auto offset = take_offset(rest);
    if (!offset || !rest.empty()) return std::nullopt;
    return WallTime(*date) + *clock - *offset;
}

std::optional<WallSpan> parse_span(std::string_view text) {
    WallSpan sum{};
    bool any = false;
    while (!text.empty()) {
        if (take(text, ' ')) continue;
        const auto number = take_number(text, 9);
        if (!number) return std::nullopt;
        std::size_t letters = 0;
        while (letters < text.size() && text[letters] >= 'a' && text[letters] <= 'z')
            ++letters;
        const auto unit = unit_span(text.substr(0, letters));
        if (!unit) return std::nullopt;
        text.remove_prefix(letters);
        if (*number > kSpanMax / *unit) return std::nullopt;
        sum += *number * *unit;
        if (sum > kSpanMax) return std::nullopt;
        any = true;
    }
    if (!any) return std::nullopt;
    return sum;
}

std::string span_text(WallSpan span) {
    constexpr std::array kShown{Unit{"d", days(1)}, Unit{"h", hours(1)}, Unit{"min", minutes(1)},
                                Unit{"s", WallSpan(1000)}, Unit{"ms", WallSpan(1)}};
    std::string text;
    for (const Unit& unit : kShown) {
        const std::int64_t count = span / unit.span;
        if (count <= 0) continue;
        span -= count * unit.span;
        text += std::to_string(count) + std::string(unit.name) + " ";
    }
    if (text.empty()) return "0s";
    text.pop_back();
    return text;
}

}  // namespace towline
