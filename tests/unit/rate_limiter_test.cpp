// SPDX-License-Identifier: Apache-2.0
// Over time no more than the rate passes, and no less when there is always something to send.

#include "io/rate_limiter.hpp"

#include <gtest/gtest.h>

namespace towline {
namespace {

constexpr Instant kStart{Duration(1'000'000'000)};
constexpr std::uint64_t kRate = 10'000'000;

// Sends frames whenever the limiter lets it, for `how_long`; the bytes that passed.
std::uint64_t pass(RateLimiter& limiter, Instant start, Duration how_long, std::uint64_t frame) {
    std::uint64_t passed = 0;
    for (Instant now = start; now < start + how_long;) {
        const Instant ready = limiter.ready_at(now);
        if (ready > now) {
            now = ready;
            continue;
        }
        limiter.spend(frame, now);
        passed += frame;
    }
    return passed;
}

TEST(RateLimiterTest, WithoutARateAllPassesAtOnce) {
    RateLimiter limiter;
    EXPECT_TRUE(limiter.unlimited());
    limiter.spend(1ULL << 40, kStart);
    EXPECT_EQ(limiter.ready_at(kStart), kStart);
}

TEST(RateLimiterTest, TheRateIsKeptOverTime) {
    for (const std::uint64_t frame : {1'000ULL, 65'536ULL, 1'048'576ULL, 30'000'000ULL}) {
        RateLimiter limiter(kRate);
        const std::uint64_t passed = pass(limiter, kStart, 100s, frame);
        EXPECT_GE(passed, kRate * 100) << frame;
        EXPECT_LE(passed, kRate * 100 + kRate / 10 + 2 * frame) << frame;
    }
}

TEST(RateLimiterTest, AnIdleTimeIsNotSavedUp) {
    RateLimiter limiter(kRate);
    pass(limiter, kStart, 1s, 65536);
    const std::uint64_t burst = pass(limiter, kStart + 1000s, 1s, 65536);
    EXPECT_LE(burst, kRate + kRate / 10 + 2 * 65536);
}

TEST(RateLimiterTest, AFrameLargerThanTheBucketPassesAndIsPaidFor) {
    RateLimiter limiter(kRate);
    EXPECT_EQ(limiter.ready_at(kStart), kStart);
    limiter.spend(kRate * 2 + kRate / 10, kStart);  // the bucket, and two seconds
    EXPECT_NEAR(seconds(limiter.ready_at(kStart) - kStart), 2.0, 0.001);
    EXPECT_EQ(limiter.ready_at(kStart + 3s), kStart + 3s);
}

TEST(RateLimiterTest, WhatIsOwedStaysOwedWhenTheRateChanges) {
    RateLimiter limiter(kRate);
    limiter.spend(kRate + kRate / 10, kStart);
    limiter.set_rate(kRate / 10, kStart);
    EXPECT_NEAR(seconds(limiter.ready_at(kStart) - kStart), 10.0, 0.01);
    limiter.set_rate(0, kStart);
    EXPECT_EQ(limiter.ready_at(kStart), kStart);
}

TEST(RateLimiterTest, AClockThatStandsStillOrIsAskedTwiceChangesNothing) {
    RateLimiter limiter(kRate);
    limiter.spend(kRate, kStart);
    const Instant ready = limiter.ready_at(kStart);
    EXPECT_EQ(limiter.ready_at(kStart), ready);
    limiter.spend(0, kStart);
    EXPECT_EQ(limiter.ready_at(kStart), ready);
}

// Whoever waits until then must not be sent away again for a rounding.
TEST(RateLimiterTest, AtTheToldTimeItIsReady) {
    for (std::uint64_t rate : {1ULL, 999ULL, 12'345'678ULL, 10'000'000'000ULL}) {
        RateLimiter limiter(rate);
        limiter.spend(rate / 3 + 7777, kStart);
        const Instant ready = limiter.ready_at(kStart);
        EXPECT_LE(limiter.ready_at(ready), ready + Duration(1)) << rate;
    }
}

}  // namespace
}  // namespace towline
