// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "io/clock.hpp"

namespace towline {

// A source of which no image can be had is copied while it is live, round by round; each brings
// what was written during the one before. Decides after each whether what is left by now is little
// enough to stop the source for it. Pure.
class Convergence {
  public:
    enum class Next {
        kLive,    // another round
        kFrozen,  // the last one
        kGiveUp,  // the source is written to as fast as it is copied
    };

    // A freeze ends after `freeze_max`, finished or not.
    explicit Convergence(Duration freeze_max);

    // A live round has ended.
    struct Round {
        std::uint64_t bytes = 0;  // that it was to bring
        Duration elapsed{};
        bool listed = true;  // these are what was written before it, not all that there is
    };
    Next after(const Round& round);

    // The last one ended by the freeze's limit, and brought nothing: less is to be left for the
    // next attempt.
    Next overran(const Round& round);

    unsigned rounds() const { return rounds_; }
    unsigned overruns() const { return overruns_; }
    double copied_bytes_per_second() const { return copied_rate_; }
    // While it was copied; 0: nothing to tell it by.
    double dirty_bytes_per_second() const { return dirty_rate_; }
    double bytes_left() const { return left_; }
    Duration expected_freeze() const;

  private:
    unsigned rounds_ = 0;
    unsigned overruns_ = 0;
    bool tries_again_ = false;
    Duration limit_;  // of the freeze that is expected
    Round last_;
    double copied_rate_ = 0;
    double dirty_rate_ = 0;
    double left_ = 0;
};

}  // namespace towline
