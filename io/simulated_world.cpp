// SPDX-License-Identifier: Apache-2.0
// The clock and the event queue of a simulation. Time moves only from event to event, events never
// nest, and nothing here or in what runs on it looks at real time, addresses or the order of a hash
// table: that is what makes a seed replay.

#include "io/simulated_world.hpp"

#include <algorithm>

#include "io/check.hpp"

namespace towline {

SimulatedWorld::SimulatedWorld(std::uint64_t seed, SimulatedTimings timings)
    : seed_(seed),
      timings_(timings),
      random_(SimulatedRandom::mix(seed)),
      digest_(SimulatedRandom::mix(~seed)) {}

RunEnd SimulatedWorld::run(const std::function<bool()>& done, Duration limit) {
    const Instant end = now_ + limit;
    while (!done()) {
        if (events_.empty()) return RunEnd::kIdle;
        if (events_.begin()->first.first > end) {
            now_ = end;
            return RunEnd::kTimeLimit;
        }
        step();
    }
    return RunEnd::kDone;
}

bool SimulatedWorld::step() {
    CHECK(!stepping_);
    if (events_.empty()) return false;
    // Taken out first: the action may cancel its own owner's events.
    const auto taken = events_.extract(events_.begin());
    now_ = taken.key().first;
    ++event_count_;
    stepping_ = true;
    taken.mapped().action();
    stepping_ = false;
    return true;
}

void SimulatedWorld::at(Instant when, const void* owner, Action action) {
    when = std::max(when, now_);
    if (const auto sleeper = asleep_.find(owner); sleeper != asleep_.end())
        when = std::max(when, sleeper->second);
    events_.emplace(Key{when, ++last_sequence_}, Event{owner, std::move(action)});
}

void SimulatedWorld::cancel_all(const void* owner) {
    CHECK(owner != nullptr);
    std::erase_if(events_, [owner](const auto& entry) { return entry.second.owner == owner; });
    asleep_.erase(owner);
}

void SimulatedWorld::put_to_sleep(const void* owner, Instant until) {
    CHECK(owner != nullptr);
    std::vector<Action> missed;
    std::erase_if(events_, [&](auto& entry) {
        const bool misses = entry.second.owner == owner && entry.first.first < until;
        if (misses) missed.push_back(std::move(entry.second.action));
        return misses;
    });
    asleep_[owner] = until;
    for (Action& action : missed)
        at(until, owner, std::move(action));
}

SimulatedConnection& SimulatedWorld::add_connection(ConnectionPlan plan) {
    const auto number = static_cast<std::uint32_t>(connections_.size());
    connections_.push_back(std::make_unique<SimulatedConnection>(*this, number, std::move(plan)));
    return *connections_.back();
}

void SimulatedWorld::note(std::string_view place, std::uint64_t first, std::uint64_t second) {
    const auto add = [this](std::uint64_t value) {
        digest_ = SimulatedRandom::mix(digest_ * 0x100000001b3ULL + value);
    };
    for (const char letter : place)
        add(static_cast<unsigned char>(letter));
    add(static_cast<std::uint64_t>(now_.time_since_epoch().count()));
    add(first);
    add(second);
}

}  // namespace towline
