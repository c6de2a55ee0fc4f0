// SPDX-License-Identifier: Apache-2.0
// What is left when a round ends is what was written during it: the rate at which the source is
// written to, measured over the round before, for as long as this one took. Rounds go on while they
// get smaller; then what would have to be copied under the freeze is what it is, and is done if it
// fits well into the limit, or not at all.

#include "userspace/engine/convergence.hpp"

#include <algorithm>
#include <utility>

namespace towline {

namespace {

constexpr Duration kGoal = std::chrono::milliseconds(200);  // of a freeze that nobody minds
constexpr unsigned kRoundsMax = 12;
constexpr unsigned kOverrunsMax = 3;
constexpr double kShrinks = 0.75;    // a round that is no smaller than this part shrinks no more
constexpr double kLimitPart = 0.5;   // of the freeze's limit, since this is an estimate
constexpr double kPlainRate = 50e6;  // bytes a second, until a round was long enough to tell
constexpr std::uint64_t kTellingBytes = 4 << 20;

}  // namespace

Duration Convergence::expected_freeze() const {
    const double rate = copied_rate_ > 0 ? copied_rate_ : kPlainRate;
    return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(left_ / rate));
}

Convergence::Convergence(Duration freeze_max)
    : limit_(std::chrono::duration_cast<Duration>(freeze_max * kLimitPart)) {}

// What it was to bring is brought by the next one, beside what was written meanwhile.
Convergence::Next Convergence::overran(const Round& round) {
    ++rounds_;
    last_ = round;
    limit_ /= 2;
    tries_again_ = true;
    return ++overruns_ == kOverrunsMax ? Next::kGiveUp : Next::kLive;
}

Convergence::Next Convergence::after(const Round& round) {
    const auto seconds = [](Duration span) {
        return std::max(1e-3, std::chrono::duration<double>(span).count());
    };
    const Duration goal = std::min(kGoal, limit_);
    ++rounds_;
    const Round before = std::exchange(last_, round);
    const auto brought = static_cast<double>(round.bytes);
    // Short rounds are mostly their own beginning and end.
    if (round.bytes >= kTellingBytes) copied_rate_ = brought / seconds(round.elapsed);
    if (rounds_ == 1) {
        // Nothing tells yet how fast it is written to; after a list, for as much again.
        left_ = brought;
        return round.listed && expected_freeze() <= goal ? Next::kFrozen : Next::kLive;
    }
    dirty_rate_ = brought / seconds(before.elapsed);
    left_ = dirty_rate_ * seconds(round.elapsed);
    if (expected_freeze() <= goal) return Next::kFrozen;
    const bool shrinks = rounds_ == 2 || std::exchange(tries_again_, false) ||
                         brought < kShrinks * static_cast<double>(before.bytes);
    if (shrinks && rounds_ < kRoundsMax) return Next::kLive;
    return expected_freeze() <= limit_ ? Next::kFrozen : Next::kGiveUp;
}

}  // namespace towline
