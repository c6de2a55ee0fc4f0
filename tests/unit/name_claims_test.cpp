// SPDX-License-Identifier: Apache-2.0
// A name is one session's; a later one of the same source takes it over, and what wakes up late
// does not.

#include "userspace/engine/name_claims.hpp"

#include <gtest/gtest.h>

#include "tests/unit/memory_stores.hpp"

namespace towline {
namespace {

using testing::uuid_of;
using Verdict = NameClaims::Verdict;
const Uuid kSource = uuid_of(1);
const Uuid kOther = uuid_of(2);

class NameClaimsTest : public ::testing::Test {
  protected:
    Verdict ask(NameClaims::Session session, const Uuid& source = kSource, bool dry_run = false) {
        const auto answer = claims.ask(session, "replica", source, dry_run);
        ends = answer.end;
        return answer.verdict;
    }
    NameClaims claims;
    std::optional<NameClaims::Session> ends;
    const NameClaims::Session first = claims.arrive();
    const NameClaims::Session second = claims.arrive();
    const NameClaims::Session third = claims.arrive();
};

TEST_F(NameClaimsTest, ALaterSessionOfTheSourceWaitsForTheEarlierOnesEnd) {
    EXPECT_EQ(ask(first), Verdict::kYours);
    EXPECT_EQ(ask(second), Verdict::kWait);
    EXPECT_EQ(ends, first);
    EXPECT_EQ(ask(second), Verdict::kWait);
    claims.leave(first);
    EXPECT_EQ(ask(second), Verdict::kYours);
}

TEST_F(NameClaimsTest, WhoOpensLateTakesNothingFromALaterSession) {
    EXPECT_EQ(ask(second), Verdict::kYours);
    EXPECT_EQ(ask(first), Verdict::kFenced);
    EXPECT_EQ(ends, std::nullopt);
    // Nor from one that still waits.
    EXPECT_EQ(ask(third), Verdict::kWait);
    claims.leave(second);
    EXPECT_EQ(ask(first), Verdict::kFenced);
    EXPECT_EQ(ask(third), Verdict::kYours);
}

TEST_F(NameClaimsTest, OfTwoThatWaitTheLaterOneGetsTheName) {
    EXPECT_EQ(ask(first), Verdict::kYours);
    EXPECT_EQ(ask(second), Verdict::kWait);
    EXPECT_EQ(ask(third), Verdict::kWait);
    claims.leave(first);
    EXPECT_EQ(ask(second), Verdict::kFenced);
    EXPECT_EQ(ask(third), Verdict::kYours);
}

TEST_F(NameClaimsTest, WhoGaveUpWaitingIsInNobodysWay) {
    EXPECT_EQ(ask(first), Verdict::kYours);
    EXPECT_EQ(ask(third), Verdict::kWait);
    claims.leave(third);
    claims.leave(first);
    EXPECT_EQ(ask(second), Verdict::kYours);
}

TEST_F(NameClaimsTest, AnotherSourceAndADryRunEndNobody) {
    EXPECT_EQ(ask(first), Verdict::kYours);
    EXPECT_EQ(ask(second, kOther), Verdict::kBusy);
    EXPECT_EQ(ask(second, kSource, true), Verdict::kBusy);
    EXPECT_EQ(claims.ask(third, "another", kOther, false).verdict, Verdict::kYours);
    claims.leave(first);
    EXPECT_EQ(ask(second, kOther), Verdict::kYours);
}

}  // namespace
}  // namespace towline
