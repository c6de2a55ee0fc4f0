// SPDX-License-Identifier: Apache-2.0
// Which points go. Each tier walks from the newest point back and keeps the first point of each of
// its spans, until it has as many as it is to keep: a clock that was wrong makes strange spans, and
// never fewer points.

#include "userspace/vault/retention.hpp"

#include <algorithm>
#include <ctime>
#include <functional>
#include <ranges>
#include <set>

namespace towline {

namespace {

constexpr std::int64_t kHour = 3600;
constexpr std::int64_t kDay = 24 * kHour;
// 1970 began on a Thursday; weeks begin on Mondays.
constexpr std::int64_t kToMonday = 3 * kDay;

std::int64_t month_of(std::int64_t seconds) {
    const std::time_t time = seconds;
    std::tm parts{};
    ::gmtime_r(&time, &parts);
    return std::int64_t{parts.tm_year} * 12 + parts.tm_mon;
}

using Span = std::function<std::int64_t(std::int64_t)>;

void keep_tier(std::span<const Point> points, std::uint64_t count, const Span& span,
               std::set<std::uint64_t>& kept) {
    std::optional<std::int64_t> present;
    for (const Point& each : std::views::reverse(points)) {
        const auto created = parse_utc(each.created_at);
        if (!created) {
            kept.insert(each.number);  // of no known time: no tier can say that it may go
            continue;
        }
        const std::int64_t its = span(*created);
        if (present == its || count == 0) continue;
        --count;
        present = its;
        kept.insert(each.number);
    }
}

}  // namespace

std::optional<std::int64_t> parse_utc(const std::string& text) {
    std::tm parts{};
    const char* end = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts);
    if (end == nullptr || *end != '\0') return std::nullopt;
    return ::timegm(&parts);
}

RetentionDecision decide_retention(const RetentionPolicy& policy, const VaultConfig& floor,
                                   std::span<const Point> points, std::uint64_t now_seconds) {
    RetentionDecision decision;
    if (points.empty() || policy.keeps_nothing()) return decision;
    std::set<std::uint64_t> kept{points.back().number};
    const auto newest = [&](std::uint64_t count) {
        return points.last(std::min<std::uint64_t>(count, points.size()));
    };
    for (const Point& each : newest(policy.last))
        kept.insert(each.number);
    if (policy.hourly > 0)
        keep_tier(
            points, policy.hourly, [](std::int64_t s) { return s / kHour; }, kept);
    if (policy.daily > 0)
        keep_tier(
            points, policy.daily, [](std::int64_t s) { return s / kDay; }, kept);
    if (policy.weekly > 0)
        keep_tier(
            points, policy.weekly, [](std::int64_t s) { return (s + kToMonday) / (7 * kDay); },
            kept);
    if (policy.monthly > 0) keep_tier(points, policy.monthly, month_of, kept);
    std::set<std::uint64_t> held;
    for (const Point& each : newest(floor.floor_count))
        held.insert(each.number);
    for (const Point& each : points) {
        const std::uint64_t age = now_seconds - std::min(now_seconds, each.clock.seconds);
        if (age < floor.floor_seconds) held.insert(each.number);
    }
    for (const Point& each : points) {
        if (kept.contains(each.number)) continue;
        (held.contains(each.number) ? decision.by_floor : decision.deleted).push_back(each.number);
    }
    return decision;
}

}  // namespace towline
