// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "io/clock.hpp"
#include "io/simulated_connection.hpp"
#include "io/simulated_random.hpp"

namespace towline {

// How long the machinery of a loop takes, disks and connections apart (they have plans of their
// own).
struct SimulatedTimings {
    // From the first completion that is there to the loop waking: what comes in between is
    // delivered in the same batch.
    Duration wake_max = std::chrono::microseconds(20);
    Duration post_max = std::chrono::microseconds(50);
    Duration work_min = std::chrono::microseconds(5);
    Duration work_max = std::chrono::microseconds(500);
};

enum class RunEnd {
    kDone,       // the predicate holds
    kIdle,       // nothing is left that could happen: everybody waits for somebody
    kTimeLimit,  // the virtual time allowed has passed
};

// One virtual clock and one queue of events for all sides of a simulated run, and the one source of
// chance: the same seed and the same calls give the same trace. It outlives the engines and disks
// made on it. One thread.
class SimulatedWorld {
  public:
    using Action = std::function<void()>;

    explicit SimulatedWorld(std::uint64_t seed, SimulatedTimings timings = {});
    SimulatedWorld(const SimulatedWorld&) = delete;
    SimulatedWorld& operator=(const SimulatedWorld&) = delete;

    std::uint64_t seed() const { return seed_; }
    const SimulatedTimings& timings() const { return timings_; }
    SimulatedRandom& random() { return random_; }
    Instant now() const { return now_; }

    // Runs events, each followed by a look at `done`, until that holds or `limit` has passed.
    RunEnd run(const std::function<bool()>& done, Duration limit);
    // The next event; false when there is none. Never from inside a callback.
    bool step();

    // Something that happens at a moment: a kill, a fault that begins. Not before now().
    void at(Instant when, Action action) { at(when, nullptr, std::move(action)); }
    // The same for what dies with its owner, when that calls cancel_all.
    void at(Instant when, const void* owner, Action action);
    void cancel_all(const void* owner);
    // A host that sleeps, or a process that was stopped: nothing of the owner happens until then,
    // and then all of it in its order.
    void put_to_sleep(const void* owner, Instant until);

    // Lives as long as the world; its two ends are given to engines by attach_socket.
    SimulatedConnection& add_connection(ConnectionPlan plan);

    // Adds to the trace what happened: the place of it, and two numbers that tell it from others.
    void note(std::string_view place, std::uint64_t first, std::uint64_t second);
    // Over all that was noted so far, each with its moment.
    std::uint64_t trace_digest() const { return digest_; }
    // How many events have run: the moment of a kill that a harness wants to come back to.
    std::uint64_t event_count() const { return event_count_; }

  private:
    struct Event {
        const void* owner;
        Action action;
    };
    // By moment; what falls on one moment runs in the order in which it was scheduled.
    using Key = std::pair<Instant, std::uint64_t>;

    std::uint64_t seed_;
    SimulatedTimings timings_;
    SimulatedRandom random_;
    // Not zero: a time of zero stands for "never yet" in more than one place of ours.
    Instant now_{std::chrono::hours(1)};
    std::map<Key, Event> events_;
    std::map<const void*, Instant> asleep_;
    std::uint64_t last_sequence_ = 0;
    std::uint64_t event_count_ = 0;
    std::uint64_t digest_;
    bool stepping_ = false;
    std::vector<std::unique_ptr<SimulatedConnection>> connections_;
};

}  // namespace towline
