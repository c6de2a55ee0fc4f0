// SPDX-License-Identifier: Apache-2.0
// Waits sorted by their due time, descending, so that the next one is taken from the back.

#include "io/timer_queue.hpp"

#include <algorithm>

namespace towline {

void TimerQueue::add(Instant due, Completion& completion) {
    const auto place = std::ranges::lower_bound(timers_, due, std::ranges::greater{}, &Timer::due);
    timers_.insert(place, {due, &completion});
}

bool TimerQueue::remove(const Completion& completion) {
    const auto found = std::ranges::find(timers_, &completion, &Timer::completion);
    if (found == timers_.end()) return false;
    timers_.erase(found);
    return true;
}

Completion* TimerQueue::take_due(Instant now) {
    if (timers_.empty() || timers_.back().due > now) return nullptr;
    Completion* completion = timers_.back().completion;
    timers_.pop_back();
    return completion;
}

}  // namespace towline
