// SPDX-License-Identifier: Apache-2.0
// The grammar of systemd.time(7), "CALENDAR EVENTS", but for fractions of a second and "@EPOCH",
// which no standing order needs.

#include <algorithm>
#include <array>
#include <charconv>
#include <date/tz.h>

#include "userspace/jobs/calendar.hpp"

namespace towline {

namespace {

constexpr int kYearFirst = 1970;
constexpr int kYearLast = 2199;

struct Shorthand {
    std::string_view name;
    std::string_view meaning;
};

constexpr std::array kShorthands{
    Shorthand{"minutely", "*-*-* *:*:00"},
    Shorthand{"hourly", "*-*-* *:00:00"},
    Shorthand{"daily", "*-*-* 00:00:00"},
    Shorthand{"monthly", "*-*-01 00:00:00"},
    Shorthand{"weekly", "Mon *-*-* 00:00:00"},
    Shorthand{"yearly", "*-01-01 00:00:00"},
    Shorthand{"annually", "*-01-01 00:00:00"},
    Shorthand{"quarterly", "*-01,04,07,10-01 00:00:00"},
    Shorthand{"semiannually", "*-01,07-01 00:00:00"},
};

constexpr std::array<std::string_view, 7> kWeekdays{"monday", "tuesday",  "wednesday", "thursday",
                                                    "friday", "saturday", "sunday"};

std::string lower(std::string_view text) {
    std::string result(text);
    for (char& letter : result)
        if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
    return result;
}

std::vector<std::string_view> split(std::string_view text, char at) {
    std::vector<std::string_view> parts;
    while (true) {
        const std::size_t end = text.find(at);
        parts.push_back(text.substr(0, end));
        if (end == std::string_view::npos) return parts;
        text.remove_prefix(end + 1);
    }
}

std::optional<int> number(std::string_view text) {
    int value = 0;
    if (text.empty() || text.size() > 4) return std::nullopt;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
    if (read.ec != std::errc{} || read.ptr != text.data() + text.size() || value < 0)
        return std::nullopt;
    return value;
}

std::optional<unsigned> weekday(std::string_view text) {
    const std::string name = lower(text);
    for (unsigned day = 0; day < kWeekdays.size(); ++day) {
        if (name == kWeekdays.at(day) || name == kWeekdays.at(day).substr(0, 3)) return day;
    }
    return std::nullopt;
}

// Reads files of the system's time zones; the library's throws end here.
const date::time_zone* find_zone(std::string_view name) {
    try {
        if (!name.empty()) return date::locate_zone(std::string(name));
        return date::current_zone();
    } catch (const std::runtime_error&) {
        if (!name.empty()) return nullptr;
    }
    // A machine without a zone of its own keeps UTC.
    return find_zone("UTC");
}

}  // namespace

class CalendarParser {
  public:
    explicit CalendarParser(std::string_view text) : text_(text) {}

    Result<Calendar> parse() {
        std::string_view meaning = text_;
        std::vector<std::string_view> words = words_of(meaning);
        if (words.empty()) return wrong("is empty");
        TRY_STATUS(take_zone(words));
        if (words.size() == 1) {
            const std::string name = lower(words[0]);
            for (const Shorthand& each : kShorthands)
                if (each.name == name) words = words_of(each.meaning);
        }
        std::size_t at = 0;
        if (at < words.size() && take_weekdays(words[at])) ++at;
        bool dated = false;
        if (at < words.size() && words[at].find(':') == std::string_view::npos) {
            TRY_STATUS(take_date(words[at++]));
            dated = true;
        }
        if (at < words.size()) {
            TRY_STATUS(take_time(words[at++]));
        } else if (dated || calendar_.weekdays_ != 0) {
            calendar_.hours_ = calendar_.minutes_ = calendar_.seconds_ = {{0, 0, 1}};
        } else {
            return wrong("has neither a day nor a time");
        }
        if (at < words.size()) return wrong("has too many parts");
        return std::move(calendar_);
    }

  private:
    std::unexpected<Error> wrong(const std::string& what) const {
        return fail(Code::kInvalid, "the calendar expression \"" + std::string(text_) + "\" " +
                                        what +
                                        " (systemd.time(7); try it with systemd-analyze calendar)");
    }

    static std::vector<std::string_view> words_of(std::string_view text) {
        std::vector<std::string_view> words = split(text, ' ');
        std::erase(words, std::string_view{});
        return words;
    }

    Status take_zone(std::vector<std::string_view>& words) {
        const std::string_view last = words.back();
        const bool letter =
            (last[0] >= 'A' && last[0] <= 'Z') || (last[0] >= 'a' && last[0] <= 'z');
        const bool shorthand =
            std::any_of(kShorthands.begin(), kShorthands.end(),
                        [&](const Shorthand& each) { return each.name == lower(last); });
        if (!letter || shorthand || is_weekdays(last)) {
            calendar_.zone_ = find_zone("");
        } else {
            calendar_.zone_ = find_zone(last);
            if (calendar_.zone_ == nullptr) return wrong("names no time zone known here");
            words.pop_back();
        }
        if (calendar_.zone_ == nullptr)
            return fail(Code::kUnsupported, "no time zones (tzdata) here");
        if (words.empty()) return wrong("has neither a day nor a time");
        return {};
    }

    static std::optional<unsigned> weekday_mask(std::string_view text) {
        unsigned mask = 0;
        for (const std::string_view part : split(text, ',')) {
            std::size_t range = part.find("..");
            std::size_t width = 2;
            if (range == std::string_view::npos) range = part.find('-'), width = 1;
            const auto first = weekday(part.substr(0, range));
            const auto last =
                range == std::string_view::npos ? first : weekday(part.substr(range + width));
            if (!first || !last || *last < *first) return std::nullopt;
            for (unsigned day = *first; day <= *last; ++day)
                mask |= 1U << day;
        }
        return mask;
    }

    static bool is_weekdays(std::string_view text) { return weekday_mask(text).has_value(); }

    bool take_weekdays(std::string_view word) {
        if (!word.empty() && word.back() == ',') word.remove_suffix(1);
        const auto mask = weekday_mask(word);
        // All seven are what no word at all means.
        if (mask) calendar_.weekdays_ = *mask;
        return mask.has_value();
    }

    // "*", "5", "1..5", "0/15", "8..20/2", and lists of them. Counted from the end, steps without a
    // range go on towards it.
    Result<Calendar::Part> part(std::string_view text, int low, int high,
                                bool from_end = false) const {
        Calendar::Part result;
        if (text == "*") return result;
        for (std::string_view each : split(text, ',')) {
            Calendar::Series series{.first = low, .last = low, .step = 1};
            bool open = false;
            if (const std::size_t slash = each.find('/'); slash != std::string_view::npos) {
                const auto step = number(each.substr(slash + 1));
                if (!step || *step == 0) return wrong("has a step that is no number");
                series.step = *step;
                each = each.substr(0, slash);
                open = true;
            }
            const std::size_t range = each.find("..");
            const auto first = number(each.substr(0, range));
            if (!first) return wrong("has a part that is no number");
            series.first = *first;
            series.last = open ? high : *first;
            if (range != std::string_view::npos) {
                const auto last = number(each.substr(range + 2));
                if (!last || *last < *first) return wrong("has a range that ends before it begins");
                series.last = *last;
            }
            if (series.first < low || series.first > high || series.last > high)
                return wrong("has a number out of its range");
            if (from_end && open && range == std::string_view::npos) series.last = low;
            result.push_back(series);
        }
        return result;
    }

    // "Y-M-D" or "M-D"; "~" before the day counts from the month's end.
    Status take_date(std::string_view word) {
        const std::size_t tilde = word.find('~');
        std::vector<std::string_view> parts = split(word.substr(0, tilde), '-');
        if (tilde != std::string_view::npos) {
            calendar_.from_month_end_ = true;
            parts.push_back(word.substr(tilde + 1));
        }
        if (parts.size() < 2 || parts.size() > 3) return wrong("has a date that is none");
        const bool year = parts.size() == 3;
        if (year) calendar_.years_ = TRY(part(parts[0], kYearFirst, kYearLast));
        calendar_.months_ = TRY(part(parts[parts.size() - 2], 1, 12));
        calendar_.days_ = TRY(part(parts.back(), 1, 31, calendar_.from_month_end_));
        return {};
    }

    Status take_time(std::string_view word) {
        const std::vector<std::string_view> parts = split(word, ':');
        if (parts.size() < 2 || parts.size() > 3) return wrong("has a time that is none");
        calendar_.hours_ = TRY(part(parts[0], 0, 23));
        calendar_.minutes_ = TRY(part(parts[1], 0, 59));
        calendar_.seconds_ = TRY(part(parts.size() == 3 ? parts[2] : "0", 0, 59));
        return {};
    }

    std::string_view text_;
    Calendar calendar_;
};

Result<Calendar> Calendar::parse(std::string_view text) {
    constexpr std::size_t kTextMax = 256;
    if (text.size() > kTextMax)
        return fail(Code::kInvalid, "a calendar expression has 256 characters at most");
    return CalendarParser(text).parse();
}

}  // namespace towline
