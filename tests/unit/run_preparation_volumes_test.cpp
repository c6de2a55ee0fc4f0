// SPDX-License-Identifier: Apache-2.0
// A run of two tracked volumes: what either tracker saw is in the plan, at its place, and stays
// pending until the target has sealed, whatever breaks.

#include <gtest/gtest.h>

#include "tests/unit/memory_stores.hpp"
#include "tests/unit/prepared_run.hpp"
#include "userspace/engine/run_preparation.hpp"

namespace towline {
namespace {

using testing::MemorySourceStore;
using testing::prepare_run;
using testing::uuid_of;

constexpr std::uint32_t kBlock = 4096;
constexpr std::uint64_t kFirst = 50 * kBlock;
constexpr std::uint64_t kSecond = 30 * kBlock + 5;
const Uuid kTarget = uuid_of(7);
const Base kBase{.source = uuid_of(1), .sequence = 4, .point = uuid_of(2)};

struct TwoStores : MemorySourceStore {
    SourceStore& of_volume(std::size_t place) override {
        return place == 0 ? static_cast<SourceStore&>(*this) : second;
    }
    MemorySourceStore second;
};

class TwoVolumes : public ::testing::Test {
  protected:
    TwoVolumes() {
        request.layout =
            VolumeLayout::of({{"a", uuid_of(1), kFirst}, {"b", uuid_of(3), kSecond}}).value();
        second = request.layout.parts()[1].start_bytes / kBlock;
        request.run = {.source = uuid_of(1),
                       .volume_bytes = request.layout.size_bytes(),
                       .volumes = request.layout.text()};
        request.block_bytes = kBlock;
        request.draw = [this] { return uuid_of(drawn_++); };
        opened = {.exists = true,
                  .target = kTarget,
                  .size_bytes = request.run.volume_bytes,
                  .state = TargetState::kSealed,
                  .base = kBase,
                  .owner = uuid_of(1)};
        // As a first run under both trackers leaves it.
        freeze(1, {}, {});
        EXPECT_TRUE(note());
        const auto first = prepare_run(request, store, opened);
        EXPECT_TRUE(first) << first.error().text();
        opened.run = first->begin.run;
        opened.base = first->begin.next_base;
        PreparedRun run = *first;
        EXPECT_TRUE(commit_run(run, store));
    }
    // The epoch `sequence` of both, with these blocks.
    void freeze(std::uint64_t sequence, const std::vector<std::uint64_t>& a,
                const std::vector<std::uint64_t>& b) {
        request.changes = {set_of(11, sequence, kFirst, a), set_of(12, sequence, kSecond, b)};
    }
    static ChangeSet set_of(int tracker, std::uint64_t sequence, std::uint64_t bytes,
                            const std::vector<std::uint64_t>& blocks) {
        ChangeSet set{.tracker = uuid_of(tracker),
                      .sequence = sequence,
                      .after = sequence - 1,
                      .trust = Trust::kExact,
                      .changes = ChangeMap(bytes, kBlock)};
        for (const std::uint64_t each : blocks)
            set.changes.mark_blocks({.first = each, .count = 1});
        return set;
    }
    Status note() {
        for (std::size_t place = 0; place < 2; ++place)
            TRY_STATUS(note_epoch(request.changes[place], kTarget, store.of_volume(place)));
        return {};
    }

    SourceRequest request;
    OpenedMessage opened;
    TwoStores store;
    std::uint64_t second = 0;

  private:
    int drawn_ = 20;
};

TEST_F(TwoVolumes, BothTrackersListsAreOnePlan) {
    freeze(2, {3}, {5, 30});
    ASSERT_TRUE(note());
    const auto run = prepare_run(request, store, opened);
    ASSERT_TRUE(run) << run.error().text();
    EXPECT_EQ(run->decision.cause, Cause::kTracked);
    EXPECT_TRUE(run->plan.test(3) && run->plan.test(second + 5) && run->plan.test(second + 30));
    EXPECT_EQ(run->plan.marked_blocks(), 3U);
    EXPECT_EQ(store.maps[kTarget], run->plan);
    EXPECT_TRUE(store.kept[kTarget].changes.empty());
    EXPECT_TRUE(store.second.kept[kTarget].changes.empty());
}

TEST_F(TwoVolumes, WhatOneTrackerCannotSayMakesTheRunCompare) {
    freeze(2, {3}, {5});
    request.changes[1].trust = Trust::kUnknown;
    ASSERT_TRUE(note());
    const auto gap = prepare_run(request, store, opened);
    ASSERT_TRUE(gap) << gap.error().text();
    EXPECT_EQ(gap->decision.mode, RunMode::kScan);
    EXPECT_EQ(cause_name(gap->decision.cause), "tracker-gap");
    // And so does one that began anew.
    freeze(3, {}, {});
    request.changes[1].tracker = uuid_of(13);
    ASSERT_TRUE(note());
    const auto anew = prepare_run(request, store, opened);
    ASSERT_TRUE(anew) << anew.error().text();
    EXPECT_EQ(anew->decision.mode, RunMode::kScan);
    EXPECT_EQ(cause_name(anew->decision.cause), "tracker-new");
}

TEST_F(TwoVolumes, SomebodyElsesEpochOfOneIsNoticed) {
    freeze(3, {}, {});
    request.changes[0].sequence = 2;
    request.changes[0].after = 1;
    ASSERT_TRUE(note());  // the second's epoch 2 was taken by somebody else
    const auto run = prepare_run(request, store, opened);
    ASSERT_TRUE(run) << run.error().text();
    EXPECT_EQ(run->decision.mode, RunMode::kScan);
    EXPECT_EQ(cause_name(run->decision.cause), "changes-taken");
}

TEST_F(TwoVolumes, ACrashAtEachWriteLosesNoChangeOfEither) {
    const TwoStores before = store;
    const OpenedMessage sealed = opened;
    for (int first = 0; first <= 4; ++first) {
        for (int other = 0; other <= 2; ++other) {
            store = before;
            opened = sealed;
            store.writes_left = first;
            store.second.writes_left = other;
            freeze(2, {3}, {5});
            // An epoch that was not noted of both is given back.
            const bool noted = note().has_value();
            if (noted) {
                const auto run = prepare_run(request, store, opened);
                if (run) {
                    opened.state = TargetState::kApplying;
                    opened.run = run->begin.run;
                    opened.run_mode = run->begin.mode;
                    opened.run_base = run->begin.next_base;
                }
            }
            store.writes_left = store.second.writes_left = INT32_MAX;
            freeze(3, {9}, {8});
            for (ChangeSet& each : request.changes) {
                each.after = noted ? 2 : 1;
                if (!noted)
                    each.changes.mark_blocks(
                        {.first = each.tracker == uuid_of(11) ? 3U : 5U, .count = 1});
            }
            ASSERT_TRUE(note());
            const auto next = prepare_run(request, store, opened);
            ASSERT_TRUE(next) << next.error().text();
            if (next->decision.mode != RunMode::kExtents) continue;  // compares: loses nothing
            EXPECT_TRUE(next->plan.test(3)) << first << " " << other;
            EXPECT_TRUE(next->plan.test(9)) << first << " " << other;
            EXPECT_TRUE(next->plan.test(second + 5)) << first << " " << other;
            EXPECT_TRUE(next->plan.test(second + 8)) << first << " " << other;
        }
    }
}

// A run that was cut off with other volumes: its pending map speaks of other bytes.
TEST_F(TwoVolumes, PendingOfOtherVolumesIsNotBelieved) {
    freeze(2, {3}, {5});
    ASSERT_TRUE(note());
    ASSERT_TRUE(prepare_run(request, store, opened));
    const SourceRequest both = request;
    request.layout =
        VolumeLayout::of({{"a", uuid_of(1), kFirst}, {"c", uuid_of(4), kSecond}}).value();
    request.run.volumes = request.layout.text();
    request.changes.clear();
    const auto other = prepare_run(request, store, opened);
    ASSERT_TRUE(other) << other.error().text();
    EXPECT_EQ(cause_name(other->decision.cause), "volumes-changed");
    // Back to the first two, again and again, until one of them is sealed.
    request = both;
    for (std::uint64_t sequence = 3; sequence < 6; ++sequence) {
        freeze(sequence, {}, {});
        ASSERT_TRUE(note());
        const auto run = prepare_run(request, store, opened);
        ASSERT_TRUE(run) << run.error().text();
        EXPECT_EQ(run->decision.mode, RunMode::kScan) << sequence;
        EXPECT_EQ(cause_name(run->decision.cause), "volumes-changed");
    }
}

TEST_F(TwoVolumes, AFullRunHasNothingOfWhatLiesBetween) {
    request.run.kind = RunRequest::Kind::kFull;
    request.changes.clear();
    const auto run = prepare_run(request, store, opened);
    ASSERT_TRUE(run) << run.error().text();
    EXPECT_EQ(run->plan.marked_blocks(), 50U + 31U);
    EXPECT_EQ(run->changed_bytes, kFirst + kSecond);
}

}  // namespace
}  // namespace towline
