// SPDX-License-Identifier: Apache-2.0
// The table of runs: every cause and every refusal, from one good standing that each row changes in
// one respect.

#include "userspace/engine/run_decision.hpp"

#include <functional>

#include <gtest/gtest.h>

#include "tests/unit/memory_stores.hpp"

namespace towline {
namespace {

using testing::uuid_of;
using Kind = RunRequest::Kind;

constexpr std::uint64_t kVolume = 1 << 20;
const Base kBase{.source = uuid_of(1), .sequence = 4, .point = uuid_of(2)};
const Base kOpenBase{.source = uuid_of(1), .sequence = 5, .point = uuid_of(3)};

// A sealed replica of this source whose base both sides know.
struct Standing {
    RunRequest request{.source = uuid_of(1), .volume_bytes = kVolume, .modified_ns = 100};
    std::optional<TargetMemory> memory{
        {.target = uuid_of(7), .base = kBase, .volume_bytes = kVolume, .modified_ns = 100}};
    OpenedMessage opened{.exists = true,
                         .has_data = true,
                         .target = uuid_of(7),
                         .size_bytes = kVolume,
                         .state = TargetState::kSealed,
                         .base = kBase,
                         .run = uuid_of(8),
                         .owner = uuid_of(1)};

    // An unfinished run that both remember.
    void cut_off(TargetState state, RunMode mode) {
        opened.state = state;
        opened.run = uuid_of(9);
        opened.run_mode = memory->open_mode = mode;
        opened.plan_digest = memory->open_plan_digest = 11;
        memory->open_runs = {uuid_of(5), uuid_of(9)};
        memory->open_volume_bytes = kVolume;
        if (state == TargetState::kBuilding) opened.base = {};
    }
    void unclaim() {
        opened.state = TargetState::kUnclaimed;
        opened.base = {};
        opened.owner = {};
    }
};

struct Row {
    const char* what;
    std::function<void(Standing&)> change;
    RunMode mode;
    Cause cause;
};

void expect_rows(Kind kind, const std::vector<Row>& rows) {
    for (const Row& row : rows) {
        Standing standing;
        standing.request.kind = kind;
        row.change(standing);
        const auto decision = decide_run(standing.request, standing.memory, standing.opened);
        ASSERT_TRUE(decision) << row.what << ": " << decision.error().text();
        EXPECT_EQ(decision->mode, row.mode) << row.what;
        EXPECT_EQ(cause_name(decision->cause), cause_name(row.cause)) << row.what;
    }
}

const std::vector<Row> kNoBases{
    {"unknown here", [](Standing& s) { s.memory.reset(); }, {}, Cause::kUnknownTarget},
    {"never sealed", [](Standing& s) { s.memory->base = {}; }, {}, Cause::kUnknownTarget},
    {"another moment",
     [](Standing& s) { s.opened.base.point = uuid_of(6); },
     {},
     Cause::kTargetDiffers},
    {"rolled back", [](Standing& s) { s.opened.base.sequence = 3; }, {}, Cause::kTargetDiffers},
    {"first copy cut off",
     [](Standing& s) { s.cut_off(TargetState::kBuilding, RunMode::kFull); },
     {},
     Cause::kUnfinishedRun},
    {"overwritten by a run unknown here",
     [](Standing& s) {
         s.cut_off(TargetState::kApplying, RunMode::kFull);
         s.opened.run = uuid_of(6);
     },
     {},
     Cause::kUnfinishedRun},
    {"grown", [](Standing& s) { s.request.volume_bytes *= 2; }, {}, Cause::kSourceResized},
    {"older", [](Standing& s) { s.request.modified_ns = 99; }, {}, Cause::kSourceReverted},
    {"other volumes", [](Standing& s) { s.request.volumes = "a b"; }, {}, Cause::kVolumesChanged},
    {"one of several", [](Standing& s) { s.memory->volumes = "a b"; }, {}, Cause::kVolumesChanged},
    {"pending of other volumes",
     [](Standing& s) {
         s.memory->pending_trust = Trust::kUnknown;
         s.memory->pending_doubt = Cause::kVolumesChanged;
     },
     {},
     Cause::kVolumesChanged},
};

TEST(RunDecision, AutoScansAndSaysWhy) {
    std::vector<Row> rows = kNoBases;
    for (Row& row : rows)
        row.mode = RunMode::kScan;
    rows.push_back({"good standing", [](Standing&) {}, RunMode::kScan, Cause::kNoTracker});
    rows.push_back({"not there",
                    [](Standing& s) {
                        s.unclaim();
                        s.opened.exists = s.opened.has_data = false;
                    },
                    RunMode::kFull, Cause::kFirstCopy});
    rows.push_back({"empty",
                    [](Standing& s) {
                        s.unclaim();
                        s.opened.has_data = false;
                        s.opened.empty = true;
                    },
                    RunMode::kFull, Cause::kFirstCopy});
    rows.push_back({"another's, given up",
                    [](Standing& s) {
                        s.opened.owner = uuid_of(6);
                        s.request.overwrite = true;
                    },
                    RunMode::kScan, Cause::kOtherSource});
    rows.push_back({"changed, given up",
                    [](Standing& s) {
                        s.unclaim();
                        s.opened.changed = true;
                        s.request.overwrite = true;
                    },
                    RunMode::kScan, Cause::kTargetChanged});
    expect_rows(Kind::kAuto, rows);
}

TEST(RunDecision, FullIsFull) {
    std::vector<Row> rows = kNoBases;
    for (Row& row : rows) {
        row.mode = RunMode::kFull;
        row.cause = Cause::kRequestedFull;
    }
    expect_rows(Kind::kFull, rows);
}

TEST(RunDecision, ExtentsStandOnABaseOrAreRefusedWithTheCause) {
    for (const Row& row : kNoBases) {
        Standing standing;
        standing.request.kind = Kind::kExtents;
        row.change(standing);
        const auto decision = decide_run(standing.request, standing.memory, standing.opened);
        ASSERT_FALSE(decision) << row.what;
        EXPECT_EQ(decision.error().code, Code::kRefused);
        EXPECT_NE(decision.error().context.find(cause_text(row.cause)), std::string::npos)
            << row.what;
    }
    expect_rows(Kind::kExtents,
                {{"good standing", [](Standing&) {}, RunMode::kExtents, Cause::kChangeList},
                 {"overwritten by what we still hold",
                  [](Standing& s) { s.cut_off(TargetState::kApplying, RunMode::kExtents); },
                  RunMode::kExtents, Cause::kChangeList},
                 {"and by an older one",
                  [](Standing& s) {
                      s.cut_off(TargetState::kApplying, RunMode::kExtents);
                      s.opened.run = uuid_of(5);
                  },
                  RunMode::kExtents, Cause::kChangeList}});
}

TEST(RunDecision, ExtentsBringWhatIsPendingAlong) {
    Standing standing;
    standing.request.kind = Kind::kExtents;
    EXPECT_TRUE(decide_run(standing.request, standing.memory, standing.opened)->include_pending);
}

// What reads show is believed by nothing that would leave it as it is.
TEST(RunDecision, AfterAFailedFlushOnlyAFullRun) {
    const auto at_target = [](Standing& s) { s.opened.flush_failed_run = uuid_of(9); };
    const auto here_alone = [](Standing& s) { s.memory->flush_failed_run = uuid_of(9); };
    for (const auto& noted : std::vector<std::function<void(Standing&)>>{at_target, here_alone}) {
        for (const Kind kind : {Kind::kAuto, Kind::kScan})
            expect_rows(kind, {{"flush", noted, RunMode::kFull, Cause::kTargetFlushFailed}});
        expect_rows(Kind::kFull, {{"flush", noted, RunMode::kFull, Cause::kRequestedFull}});
        Standing standing;
        noted(standing);
        standing.request.kind = Kind::kExtents;
        const auto refused = decide_run(standing.request, standing.memory, standing.opened);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code, Code::kRefused);
        EXPECT_NE(refused.error().context.find("a flush of the target failed"), std::string::npos);
        EXPECT_NE(refused.error().context.find("run once without --extents"), std::string::npos);
    }
}

TEST(RunDecision, AfterAFailedFlushOnlyALaterFullRunIsResumed) {
    for (const RunMode mode : {RunMode::kFull, RunMode::kExtents, RunMode::kScan}) {
        for (const int failed : {5, 9}) {
            Standing standing;
            standing.cut_off(TargetState::kApplying, mode);
            standing.request.resume = true;
            standing.opened.flush_failed_run = uuid_of(failed);
            const auto decision = decide_run(standing.request, standing.memory, standing.opened);
            ASSERT_TRUE(decision);
            EXPECT_EQ(decision->mode, RunMode::kFull);
            EXPECT_EQ(decision->resume, mode == RunMode::kFull && failed == 5);
        }
    }
}

TEST(RunDecision, ResumesOnlyTheVeryRun) {
    const auto resumed = [](auto change) {
        Standing standing;
        standing.cut_off(TargetState::kApplying, RunMode::kFull);
        standing.request.resume = true;
        change(standing);
        const auto decision = decide_run(standing.request, standing.memory, standing.opened);
        EXPECT_TRUE(decision);
        return decision->resume;
    };
    EXPECT_TRUE(resumed([](Standing&) {}));
    EXPECT_TRUE(resumed([](Standing& s) { s.cut_off(TargetState::kBuilding, RunMode::kFull); }));
    EXPECT_TRUE(resumed([](Standing& s) { s.cut_off(TargetState::kApplying, RunMode::kExtents); }));
    EXPECT_FALSE(resumed([](Standing& s) { s.request.resume = false; }));
    EXPECT_TRUE(resumed([](Standing& s) { s.opened.staging = true; }));
    EXPECT_FALSE(resumed([](Standing& s) { s.opened.staging = s.request.direct = true; }));
    EXPECT_FALSE(resumed([](Standing& s) { s.memory.reset(); }));
    EXPECT_FALSE(resumed([](Standing& s) { s.opened.run = uuid_of(5); }));  // not the newest
    EXPECT_FALSE(resumed([](Standing& s) { s.opened.plan_digest = 12; }));
    EXPECT_FALSE(resumed([](Standing& s) { s.opened.run_mode = RunMode::kScan; }));
    EXPECT_FALSE(resumed([](Standing& s) { s.opened.state = TargetState::kSealed; }));
    EXPECT_FALSE(resumed([](Standing& s) { s.request.volume_bytes *= 2; }));
    // A list of changes goes on only upon its base.
    EXPECT_FALSE(resumed([](Standing& s) {
        s.cut_off(TargetState::kApplying, RunMode::kExtents);
        s.opened.base.point = uuid_of(6);
    }));
}

TEST(RunDecision, RefusesWhatMustNotBeWritten) {
    const auto refused = [](auto change, const char* remedy) {
        Standing standing;
        change(standing);
        const auto decision = decide_run(standing.request, standing.memory, standing.opened);
        if (decision) return false;
        EXPECT_EQ(decision.error().code, Code::kRefused);
        EXPECT_NE(decision.error().context.find(remedy), std::string::npos)
            << decision.error().context;
        return true;
    };
    const auto foreign = [](Standing& s) { s.unclaim(); };
    EXPECT_TRUE(refused(foreign, "--overwrite"));
    EXPECT_TRUE(refused([](Standing& s) { s.opened.owner = uuid_of(6); }, "--overwrite"));
    EXPECT_TRUE(refused(
        [](Standing& s) {
            s.opened.is_device = true;
            s.request.volume_bytes *= 2;
            s.request.overwrite = true;
        },
        "at least the source's size"));
    EXPECT_FALSE(refused([](Standing& s) { s.unclaim(), s.request.overwrite = true; }, ""));
    // A scan of foreign data goes on only if it proves to be an older copy.
    Standing standing;
    standing.unclaim();
    standing.request.kind = Kind::kScan;
    const auto scan = decide_run(standing.request, standing.memory, standing.opened);
    EXPECT_TRUE(scan && scan->must_resemble && scan->mode == RunMode::kScan);
    standing.request.overwrite = true;
    EXPECT_FALSE(decide_run(standing.request, standing.memory, standing.opened)->must_resemble);
}

TEST(RunDecision, CommitsWhatTheTargetSealedBehindOurBack) {
    const auto committed = [](auto change) {
        Standing standing;
        standing.memory->open_runs = {uuid_of(5), uuid_of(8)};
        standing.memory->open_base = standing.opened.base = kOpenBase;
        standing.memory->open_volume_bytes = 77;
        standing.memory->open_modified_ns = 78;
        change(standing);
        const TargetMemory before = *standing.memory;
        const bool done = commit_if_sealed(*standing.memory, standing.opened);
        EXPECT_TRUE(done || *standing.memory == before);
        if (!done) return false;
        const TargetMemory after{.target = uuid_of(7),
                                 .base = kOpenBase,
                                 .volume_bytes = 77,
                                 .modified_ns = 78,
                                 .open_modified_ns = 78,
                                 .open_volume_bytes = 77};
        EXPECT_EQ(*standing.memory, after);
        return true;
    };
    EXPECT_TRUE(committed([](Standing&) {}));
    EXPECT_FALSE(committed([](Standing& s) { s.memory->open_runs.clear(); }));
    EXPECT_FALSE(committed([](Standing& s) { s.opened.state = TargetState::kApplying; }));
    EXPECT_FALSE(committed([](Standing& s) { s.opened.run = uuid_of(5); }));
    EXPECT_FALSE(committed([](Standing& s) { s.opened.base.sequence = 4; }));
}

TEST(RunDecision, EveryCauseHasANameAndASentence) {
    std::vector<std::string_view> names;
    for (int cause = 0; cause <= static_cast<int>(Cause::kResumed); ++cause) {
        names.push_back(cause_name(static_cast<Cause>(cause)));
        EXPECT_NE(names.back(), "unknown");
        EXPECT_FALSE(cause_text(static_cast<Cause>(cause)).empty());
    }
    std::sort(names.begin(), names.end());
    EXPECT_EQ(std::unique(names.begin(), names.end()), names.end());
}

// What the target lacks of the source's free blocks it lacks until a run that leaves nothing out
// has looked at all of them.
TEST(RunDecision, WhatWasLeftOutIsRemembered) {
    TargetMemory memory;
    const auto seal = [&memory](RunMode mode, bool left_out) {
        memory.open_mode = mode;
        memory.open_free_left_out = left_out;
        commit_open_run(memory);
        EXPECT_FALSE(memory.open_free_left_out);
        return memory.free_left_out;
    };
    EXPECT_FALSE(seal(RunMode::kFull, false));
    EXPECT_TRUE(seal(RunMode::kFull, true));
    EXPECT_TRUE(seal(RunMode::kExtents, false));
    EXPECT_FALSE(seal(RunMode::kScan, false));
    EXPECT_TRUE(seal(RunMode::kExtents, true));
    EXPECT_TRUE(seal(RunMode::kScan, true));
    EXPECT_FALSE(seal(RunMode::kFull, false));
}

}  // namespace
}  // namespace towline
