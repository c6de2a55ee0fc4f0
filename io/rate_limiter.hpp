// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "io/clock.hpp"

namespace towline {

// A token bucket with no clock of its own. The bucket holds a tenth of a second's worth, so that a
// limited run is smooth on the link; debt is allowed, so that what is larger than the bucket passes
// and is paid for afterwards.
class RateLimiter {
  public:
    // 0 is no limit.
    explicit RateLimiter(std::uint64_t bytes_per_second = 0)
        : bytes_per_second_(bytes_per_second) {}

    bool unlimited() const { return bytes_per_second_ == 0; }
    // What may go at once without a pause that anybody would notice behind it.
    std::uint64_t smooth_bytes() const { return bytes_per_second_ / 10; }
    // May be changed in mid-run; what is owed stays owed.
    void set_rate(std::uint64_t bytes_per_second, Instant now);

    // When the next bytes may go: `now` or earlier means at once.
    Instant ready_at(Instant now) const;
    void spend(std::uint64_t bytes, Instant now);

  private:
    void refill(Instant now);
    double bucket_bytes() const { return static_cast<double>(smooth_bytes()); }

    std::uint64_t bytes_per_second_;
    double tokens_ = 0;
    Instant filled_at_{};
};

}  // namespace towline
