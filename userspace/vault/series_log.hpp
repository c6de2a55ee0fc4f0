// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>

#include "userspace/vault/vault.hpp"

namespace towline {

// The log of a name as it is at one moment.
struct SeriesState {
    std::uint64_t last_number = 0;
    std::vector<std::uint64_t> counting;  // numbers of the points that count, rising
    std::vector<Point> points;            // the same, as far as they were read, the oldest first
    std::optional<Begin> last_begin;      // the newest one
    std::optional<Delete> last_delete;    // the same
    std::vector<std::uint64_t> outdated;  // entries that say nothing any more
    std::map<std::uint64_t, Error> damaged;

    // Numbers of points that count and have no entry any more; of a log that was read whole.
    std::vector<std::uint64_t> lost() const;
    const Point* newest() const { return points.empty() ? nullptr : &points.back(); }
    // A run that was begun and neither sealed nor given up.
    const Begin* unfinished() const;
    // The same, if somebody can go on with it: the point that it began upon is the newest still.
    // Nobody goes on where that was deleted, or is lost.
    const Begin* resumable() const;
    // kCorrupt when an entry is damaged: who would write or delete cannot know what it said.
    Status refuse_damaged() const;
};

class SeriesLog {
  public:
    SeriesLog(std::shared_ptr<Vault> vault, std::string series)
        : vault_(std::move(vault)), series_(std::move(series)) {}

    const std::shared_ptr<Vault>& vault() const { return vault_; }
    const std::string& series() const { return series_; }
    ObjectId entry_id(std::uint64_t number) const;

    Result<SeriesState> read() const;
    // What a writer wants to know, whatever the number of points: the newest one alone is read.
    Result<SeriesState> read_newest() const;
    // The highest number that is taken; 0: none.
    Result<std::uint64_t> last_number() const;
    // False when the number is taken: somebody else went on.
    Result<bool> append(std::uint64_t number, const LogEntry& entry) const;

    // The right to append, until it goes away. kBusy when another has it.
    Result<std::unique_ptr<ObjectHold>> hold() const;
    // Keeps a point from being deleted; kExclusive is the collector's.
    Result<std::unique_ptr<ObjectHold>> pin(std::uint64_t number, HoldKind kind) const;

  private:
    Result<std::vector<std::uint64_t>> numbers() const;
    Result<SeriesState> read_once() const;
    Result<std::optional<LogEntry>> read_entry(std::uint64_t number) const;
    // A damaged one is noted.
    Result<std::optional<LogEntry>> look_at(std::uint64_t number, SeriesState& state) const;

    std::shared_ptr<Vault> vault_;
    std::string series_;
};

// Which of the entries count (docs/format-vault.md). Pure: the rule that fences a late writer.
SeriesState judge_log(std::vector<LogEntry> entries);

}  // namespace towline
