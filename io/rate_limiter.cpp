// SPDX-License-Identifier: Apache-2.0
// Token bucket: `tokens_` is what may be sent at `filled_at_`; negative is debt.

#include "io/rate_limiter.hpp"

#include <algorithm>

namespace towline {

void RateLimiter::set_rate(std::uint64_t bytes_per_second, Instant now) {
    refill(now);
    bytes_per_second_ = bytes_per_second;
    tokens_ = std::min(tokens_, bucket_bytes());
}

void RateLimiter::refill(Instant now) {
    if (filled_at_ == Instant{}) {
        tokens_ = bucket_bytes();
    } else if (now > filled_at_) {
        tokens_ += static_cast<double>(bytes_per_second_) * seconds(now - filled_at_);
        tokens_ = std::min(tokens_, bucket_bytes());
    }
    filled_at_ = std::max(now, filled_at_);
}

Instant RateLimiter::ready_at(Instant now) const {
    if (unlimited()) return now;
    RateLimiter copy = *this;
    copy.refill(now);
    if (copy.tokens_ >= 0) return now;
    const double wait = -copy.tokens_ / static_cast<double>(bytes_per_second_);
    return now + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(wait));
}

void RateLimiter::spend(std::uint64_t bytes, Instant now) {
    if (unlimited()) return;
    refill(now);
    tokens_ -= static_cast<double>(bytes);
}

}  // namespace towline
