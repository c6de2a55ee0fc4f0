// SPDX-License-Identifier: Apache-2.0
// A live source is read from a snapshot or not at all, nothing is attached that nobody asked for,
// and what is passed over is named.

#include "userspace/engine/moment_choice.hpp"

#include <gtest/gtest.h>

namespace towline {
namespace {

MomentFindings findings() {
    return {.trackers = {{.kind = TrackerKind::kKmod, .why_not = "no module"},
                         {.kind = TrackerKind::kFuse, .why_not = "no mount"},
                         {.kind = TrackerKind::kBpf}},
            .snapshots = {{.kind = SnapshotKind::kKmod, .why_not = "no module"},
                          {.kind = SnapshotKind::kLvm}}};
}

MomentWish named(TrackerKind kind) {
    return {.tracker = MomentWish::Tracker::kNamed, .tracker_kind = kind};
}

TEST(MomentChoice, AutoAttachesNothingAndSaysWhatIsLost) {
    const auto choice = choose_moment({}, findings()).value();
    EXPECT_FALSE(choice.tracker || choice.attach || choice.snapshot);
    for (const char* word : {"no module", "no mount", "track attach", "reads the whole volume"})
        EXPECT_NE(choice.notes.find(word), std::string::npos) << choice.notes;
}

TEST(MomentChoice, AutoTakesTheBestThatIsAttached) {
    MomentFindings found = findings();
    found.trackers[2].attached = true;
    auto choice = choose_moment({}, found).value();
    EXPECT_EQ(choice.tracker, TrackerKind::kBpf);
    EXPECT_NE(choice.notes.find("restart"), std::string::npos) << choice.notes;
    found.trackers[0] = {.kind = TrackerKind::kKmod, .attached = true};
    choice = choose_moment({}, found).value();
    EXPECT_EQ(choice.tracker, TrackerKind::kKmod);
    EXPECT_EQ(choice.notes, "");
}

TEST(MomentChoice, ANamedTrackerIsAttachedOrRefused) {
    const auto choice = choose_moment(named(TrackerKind::kBpf), findings()).value();
    EXPECT_TRUE(choice.tracker == TrackerKind::kBpf && choice.attach);
    const auto refused = choose_moment(named(TrackerKind::kKmod), findings());
    EXPECT_EQ(refused.error().code, Code::kUnsupported);
    EXPECT_NE(refused.error().context.find("no module"), std::string::npos);
}

TEST(MomentChoice, ALiveSourceIsReadFromASnapshot) {
    MomentFindings found = findings();
    found.live = "mounted at /srv";
    EXPECT_EQ(choose_moment({}, found).value().snapshot, SnapshotKind::kLvm);
    found.snapshots[1].why_not = "no volume group";
    const auto refused = choose_moment({}, found);
    EXPECT_EQ(refused.error().code, Code::kRefused);
    for (const char* word : {"/srv", "no module", "no volume group", "--snapshot none"})
        EXPECT_NE(refused.error().context.find(word), std::string::npos);
    const MomentWish fuzzy{.snapshot = MomentWish::Snapshot::kNone};
    EXPECT_FALSE(choose_moment(fuzzy, found).value().snapshot);
}

TEST(MomentChoice, WithoutASnapshotATrackedSourceConverges) {
    MomentFindings found = findings();
    found.live = "mounted at /srv";
    found.snapshots[1].why_not = "no volume group";
    found.trackers[2].attached = true;
    EXPECT_TRUE(choose_moment({}, found).value().converge);
    found.snapshots[1].why_not = "";
    EXPECT_FALSE(choose_moment({}, found).value().converge) << "a snapshot is the better one";
    const MomentWish rounds{.snapshot = MomentWish::Snapshot::kConverge};
    EXPECT_TRUE(choose_moment(rounds, found).value().converge);
    found.why_no_rounds = "the state folder";
    EXPECT_EQ(choose_moment(rounds, found).error().code, Code::kUnsupported);
    found.snapshots[1].why_not = "no volume group";
    const auto refused = choose_moment({}, found);
    EXPECT_NE(refused.error().context.find("converge: the state folder"), std::string::npos);
    found.live.reset();
    EXPECT_FALSE(choose_moment(rounds, found).value().converge) << "it is still as it is";
}

TEST(MomentChoice, ANamedSnapshotIsMadeOrRefused) {
    MomentWish wish{.snapshot = MomentWish::Snapshot::kNamed, .snapshot_kind = SnapshotKind::kLvm};
    EXPECT_EQ(choose_moment(wish, findings()).value().snapshot, SnapshotKind::kLvm);
    wish.snapshot_kind = SnapshotKind::kKmod;
    EXPECT_EQ(choose_moment(wish, findings()).error().code, Code::kUnsupported);
    wish.snapshot_kind = SnapshotKind::kFuse;
    EXPECT_EQ(choose_moment(wish, findings()).error().code, Code::kUnsupported);
}

}  // namespace
}  // namespace towline
