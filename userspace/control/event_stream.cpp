// SPDX-License-Identifier: Apache-2.0
// A follower holds nothing but a number: what it has not read lies in the store, so that a slow one
// costs no memory, and one that is too slow finds a gap that it is told of.

#include "userspace/control/event_stream.hpp"

#include <nlohmann/json.hpp>

#include "userspace/control/live_numbers.hpp"

namespace towline {

using nlohmann::json;

namespace {

constexpr std::size_t kBatch = 100;
constexpr std::chrono::milliseconds kHeartbeat = std::chrono::seconds(5);
constexpr std::chrono::milliseconds kProgressInterval = std::chrono::seconds(1);
constexpr std::size_t kProgressRunsMax = 500;

std::string line(const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

class EventReader {
  public:
    EventReader(JobService& service, const EventWish& wish)
        : service_(service),
          since_(wish.since),
          follow_(wish.follow || wish.progress),
          nap_(wish.progress ? kProgressInterval : kHeartbeat),
          progress_(wish.progress) {}

    std::string next() {
        if (service_.stopping()) return "";
        if (!since_) since_ = newest_or_start();
        std::string lines = read();
        if (!lines.empty() || !follow_) return lines;
        service_.wait_for_events(*since_, nap_);
        if (service_.stopping()) return "";
        lines = read();
        if (progress_ && monotonic_now() - told_at_ >= kProgressInterval) lines += progress();
        return lines.empty() ? "\n" : lines;
    }

  private:
    // Who follows without a number wants to see what comes; who does not, what there is.
    std::uint64_t newest_or_start() {
        std::uint64_t newest = 0;
        if (!follow_) return newest;
        service_.look(
            [&](const Scheduler&, Store& store) { newest = store.newest_event().value_or(0); });
        return newest;
    }

    std::string read() {
        Result<std::vector<JobEventRecord>> events = std::vector<JobEventRecord>{};
        std::uint64_t newest = 0;
        service_.look([&](const Scheduler&, Store& store) {
            events = store.events(*since_, kBatch);
            newest = store.newest_event().value_or(0);
        });
        if (!events) return "";
        std::string lines;
        const std::uint64_t first = events->empty() ? newest + 1 : events->front().sequence;
        if (first > *since_ + 1 && (since_given_ || *since_ > 0)) {
            lines += line(json{{"gap", {{"first", *since_ + 1}, {"last", first - 1}}}});
            since_ = first - 1;
        }
        for (const JobEventRecord& event : *events) {
            lines += line(json_of(event));
            since_ = event.sequence;
        }
        return lines;
    }

    // Of the runs that go on, as they are now: neither numbered nor kept.
    std::string progress() {
        Result<Page<Run>> runs = Page<Run>{};
        service_.look([&](const Scheduler&, Store& store) {
            runs = store.runs({.job = "", .state = std::string(name_of(RunState::kActive))},
                              std::nullopt, kProgressRunsMax);
        });
        told_at_ = monotonic_now();
        if (!runs) return "";
        std::string lines;
        for (const Run& run : runs->items)
            if (!run.paused) lines += line({{"progress", shown(run, service_)}});
        return lines;
    }

    JobService& service_;
    std::optional<std::uint64_t> since_;
    const bool since_given_ = since_.has_value();
    const bool follow_;
    const std::chrono::milliseconds nap_;
    const bool progress_;
    Instant told_at_{};
};

}  // namespace

json json_of(const JobEventRecord& event) {
    return {{"sequence", event.sequence},
            {"at", time_text(event.at)},
            {"type", event.type},
            {"job", event.job.empty() ? json(nullptr) : json(event.job)},
            {"run", event.run == 0 ? json(nullptr) : json(event.run)},
            {"data", event.data}};
}

HttpStream event_stream(JobService& service, const EventWish& wish) {
    const auto reader = std::make_shared<EventReader>(service, wish);
    return [reader] { return reader->next(); };
}

}  // namespace towline
