// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "io/clock.hpp"
#include "io/completion.hpp"

namespace towline {

// The waits of one loop, the next one first, equal ones in the order of their start. Few at a time
// (timeouts, rate limits), so a sorted vector does.
class TimerQueue {
  public:
    bool empty() const { return timers_.empty(); }
    // Not to be called when empty.
    Instant next_due() const { return timers_.back().due; }

    void add(Instant due, Completion& completion);
    // False when it is not here (any more).
    bool remove(const Completion& completion);
    // The next that is due, taken out; null when there is none.
    Completion* take_due(Instant now);

  private:
    struct Timer {
        Instant due;
        Completion* completion = nullptr;
    };
    std::vector<Timer> timers_;  // descending: the next one is at the back
};

}  // namespace towline
