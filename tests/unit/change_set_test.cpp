// SPDX-License-Identifier: Apache-2.0

#include <gtest/gtest.h>

#include "cbt/tracker_registry.hpp"

namespace towline {
namespace {

TEST(ChangeSet, ReasonsAreToldInOneOrder) {
    ChangeReasons reasons;
    EXPECT_TRUE(reasons.empty());
    EXPECT_EQ(reasons.text(), "");
    reasons.add(ChangeReason::kCrash);
    ChangeReasons more;
    more.add(ChangeReason::kFirst);
    reasons.add(more);
    EXPECT_EQ(reasons.text(), "first, crash");
    EXPECT_TRUE(reasons.has(ChangeReason::kFirst));
    EXPECT_FALSE(reasons.has(ChangeReason::kGap));
}

TEST(ChangeSet, AMissingWordIsNoTrust) {
    EXPECT_EQ(ChangeSet{}.trust, Trust::kUnknown);
    EXPECT_EQ(trust_name(Trust::kExact), "exact");
    EXPECT_EQ(trust_name(Trust::kSuperset), "superset");
    EXPECT_EQ(trust_name(Trust::kUnknown), "unknown");
}

TEST(TrackerKind, NamesLeadBackToKinds) {
    for (const TrackerKind kind : {TrackerKind::kKmod, TrackerKind::kFuse, TrackerKind::kBpf})
        EXPECT_EQ(tracker_kind_of(tracker_kind_name(kind)), kind);
    EXPECT_FALSE(tracker_kind_of("scan"));
    EXPECT_FALSE(tracker_kind_of(""));
}

}  // namespace
}  // namespace towline
