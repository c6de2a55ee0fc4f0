// SPDX-License-Identifier: Apache-2.0
// Whether a point counts is decided by the entries behind it, not by when it was put: a writer that
// sleeps through another's begin may still find a free number, and it does it no good. An entry
// that goes away between being listed and being read was removed by a collector; one that is
// damaged hides nothing but itself.

#include "userspace/vault/series_log.hpp"

#include <algorithm>
#include <ranges>

#include <nlohmann/json.hpp>

namespace towline {

using vault_format::ObjectKind;

namespace {

constexpr int kTries = 4;

std::uint64_t number_of(const LogEntry& entry) {
    return std::visit([](const auto& each) { return each.number; }, entry);
}

template <typename Entry>
void keep_newest(std::optional<Entry>& newest, const Entry& entry,
                 std::vector<std::uint64_t>& outdated) {
    if (newest) outdated.push_back(newest->number);
    newest = entry;
}

template <typename Entry>
bool vouches(const std::optional<Entry>& mark, std::uint64_t number) {
    return !mark || number > mark->number || std::ranges::binary_search(mark->points, number);
}

// What the newer one of the last begin and the last delete says; null when there is neither.
const std::vector<std::uint64_t>* last_mark(const SeriesState& state) {
    if (!state.last_begin && !state.last_delete) return nullptr;
    const bool deleted = state.last_delete && (!state.last_begin || state.last_delete->number >
                                                                        state.last_begin->number);
    return deleted ? &state.last_delete->points : &state.last_begin->points;
}

}  // namespace

SeriesState judge_log(std::vector<LogEntry> entries) {
    std::ranges::sort(entries, {}, number_of);
    SeriesState state;
    std::vector<Point> points;
    for (const LogEntry& entry : entries) {
        state.last_number = number_of(entry);
        if (const auto* begin = std::get_if<Begin>(&entry))
            keep_newest(state.last_begin, *begin, state.outdated);
        if (const auto* deleted = std::get_if<Delete>(&entry))
            keep_newest(state.last_delete, *deleted, state.outdated);
        if (const auto* point = std::get_if<Point>(&entry)) points.push_back(*point);
    }
    if (const auto* mark = last_mark(state)) state.counting = *mark;
    for (Point& point : points) {
        // Behind the last begin none of an older epoch counts.
        const std::uint64_t epoch = state.last_begin ? state.last_begin->number : 0;
        const bool late = point.number > epoch && point.begin < epoch;
        const bool counts = !late && vouches(state.last_begin, point.number) &&
                            vouches(state.last_delete, point.number);
        if (!counts) {
            state.outdated.push_back(point.number);
            continue;
        }
        if (!std::ranges::binary_search(state.counting, point.number))
            state.counting.push_back(point.number);
        state.points.push_back(std::move(point));
    }
    return state;
}

const Begin* SeriesState::unfinished() const {
    if (!last_begin) return nullptr;
    const bool sealed = newest() != nullptr && newest()->begin == last_begin->number;
    const bool ended = last_delete && last_delete->ended >= last_begin->number;
    return sealed || ended ? nullptr : &*last_begin;
}

const Begin* SeriesState::resumable() const {
    const Begin* begin = unfinished();
    if (begin == nullptr || begin->state.state != TargetState::kApplying) return begin;
    const bool stands =
        newest() != nullptr && newest()->state.base.point == begin->state.base.point;
    return stands ? begin : nullptr;
}

std::vector<std::uint64_t> SeriesState::lost() const {
    std::vector<std::uint64_t> lost;
    for (const std::uint64_t number : counting) {
        const bool there = std::ranges::binary_search(points, number, {}, &Point::number);
        if (!there && !damaged.contains(number)) lost.push_back(number);
    }
    return lost;
}

Status SeriesState::refuse_damaged() const {
    if (damaged.empty()) return {};
    Error error = damaged.begin()->second;
    error.context += "; see: towline vault check --repair";
    return std::unexpected(std::move(error));
}

ObjectId SeriesLog::entry_id(std::uint64_t number) const {
    return {.kind = ObjectKind::kLogEntry, .series = series_, .writer = {}, .number = number};
}

Result<std::optional<LogEntry>> SeriesLog::read_entry(std::uint64_t number) const {
    const ObjectId id = entry_id(number);
    const auto json = get_document(vault_->store(), vault_->id(), id);
    if (!json && json.error().system_errno == ENOENT) return std::optional<LogEntry>();
    if (!json) return std::unexpected(json.error());
    return std::optional(TRY(log_entry_from_json(*json, number, id.object_name())));
}

Result<std::vector<std::uint64_t>> SeriesLog::numbers() const {
    const std::string folder = object_folder(ObjectKind::kLogEntry, series_);
    std::vector<std::uint64_t> numbers;
    for (const ObjectInfo& each : TRY(vault_->store().list(folder))) {
        const auto id = parse_object_name(ObjectKind::kLogEntry, series_, each.name);
        if (id) numbers.push_back(id->number);
    }
    std::ranges::sort(numbers);
    return numbers;
}

Result<std::uint64_t> SeriesLog::last_number() const {
    const auto all = TRY(numbers());
    return all.empty() ? 0 : all.back();
}

Result<std::optional<LogEntry>> SeriesLog::look_at(std::uint64_t number, SeriesState& state) const {
    auto entry = read_entry(number);
    if (entry || entry.error().code != Code::kCorrupt) return entry;
    state.damaged.emplace(number, entry.error());
    return std::optional<LogEntry>();
}

// A collector that works meanwhile says so in the log before it removes anything.
Result<SeriesState> SeriesLog::read() const {
    for (int tries = 1;; ++tries) {
        SeriesState state = TRY(read_once());
        const bool unread = !state.lost().empty() || state.damaged.contains(state.last_number);
        if (!unread || tries == kTries || TRY(last_number()) == state.last_number) return state;
    }
}

Result<SeriesState> SeriesLog::read_once() const {
    SeriesState noted;
    std::vector<LogEntry> entries;
    const auto all = TRY(numbers());
    std::vector<std::string> names;
    names.reserve(all.size());
    for (const std::uint64_t number : all)
        names.push_back(entry_id(number).object_name());
    vault_->store().expect(names);
    for (const std::uint64_t number : all) {
        auto entry = TRY(look_at(number, noted));
        if (entry) entries.push_back(std::move(*entry));
        // The last one is removed by nobody.
        if (!entry && number == all.back() && !noted.damaged.contains(number)) {
            const auto gone =
                object_damaged(entry_id(number).object_name(), "it is listed, and not there");
            noted.damaged.emplace(number, gone.error());
        }
    }
    SeriesState state = judge_log(std::move(entries));
    if (!all.empty()) state.last_number = all.back();
    state.damaged = std::move(noted.damaged);
    return state;
}

Result<SeriesState> SeriesLog::read_newest() const {
    SeriesState noted;
    std::vector<LogEntry> entries;
    const auto all = TRY(numbers());
    for (const std::uint64_t number : std::views::reverse(all)) {
        auto entry = TRY(look_at(number, noted));
        if (!entry) continue;
        entries.push_back(std::move(*entry));
        if (std::holds_alternative<Begin>(entries.back())) break;
    }
    SeriesState state = judge_log(entries);
    const bool missing =
        !state.counting.empty() &&
        (state.points.empty() || state.points.back().number != state.counting.back());
    if (missing) {
        if (auto entry = TRY(look_at(state.counting.back(), noted)))
            entries.push_back(std::move(*entry));
        state = judge_log(std::move(entries));
    }
    if (!all.empty()) state.last_number = all.back();
    state.damaged = std::move(noted.damaged);
    return state;
}

Result<bool> SeriesLog::append(std::uint64_t number, const LogEntry& entry) const {
    return put_document(vault_->store(), vault_->id(), entry_id(number), to_json(entry));
}

Result<std::unique_ptr<ObjectHold>> SeriesLog::hold() const {
    auto held = vault_->store().hold("log/" + series_, HoldKind::kExclusive);
    if (!held && held.error().code == Code::kBusy) {
        return fail(Code::kBusy, decode_series(series_) +
                                     " in the vault is being written by another run; try again "
                                     "later");
    }
    return held;
}

Result<std::unique_ptr<ObjectHold>> SeriesLog::pin(std::uint64_t number, HoldKind kind) const {
    return vault_->store().hold(entry_id(number).object_name(), kind);
}

}  // namespace towline
