// SPDX-License-Identifier: Apache-2.0
// The source's decisions as traces. Nothing is sent before the run is planned (which is durable),
// and pending changes are dropped (commit) only upon the target's attestation of our digest.

#include "userspace/engine/source_core.hpp"

#include <gtest/gtest.h>

#include "tests/unit/memory_stores.hpp"

namespace towline {
namespace {

using testing::uuid_of;
namespace ev = source_event;
namespace act = source_action;

const Base kNext{.source = uuid_of(1), .sequence = 5, .point = uuid_of(3)};

std::string name(const act::Send& send) {
    return "send" + std::to_string(static_cast<int>(type_of(send.message)));
}
std::string name(const act::Join&) {
    return "join";
}
std::string name(const act::Plan&) {
    return "plan";
}
std::string name(const act::Note&) {
    return "note-run";
}
std::string name(const act::ReadAhead&) {
    return "read-ahead";
}
std::string name(const act::Acknowledged&) {
    return "acknowledged";
}
std::string name(const act::TellListed&) {
    return "tell-listed";
}
std::string name(const act::StartCompare&) {
    return "compare";
}
std::string name(const act::Theirs&) {
    return "theirs";
}
std::string name(const act::StartTransfer& start) {
    return start.skip_zeros ? "transfer-without-zeros" : "transfer";
}
std::string name(const act::Commit&) {
    return "commit";
}
std::string name(const act::NoteFlushFailed&) {
    return "note";
}
std::string name(const act::Finish&) {
    return "finish";
}
std::string name(const act::Fail& fail) {
    return std::string(fail.tell_peer ? "tell-" : "fail-") +
           std::string(code_name(fail.error.code));
}

class SourceCoreTest : public ::testing::Test {
  protected:
    std::string step(const SourceEvent& event) {
        std::vector<SourceAction> actions;
        core.step(event, now, actions);
        std::string text;
        for (const SourceAction& action : actions)
            text += (text.empty() ? "" : " ") +
                    std::visit([](const auto& each) { return name(each); }, action);
        return text;
    }
    std::string hear(Message message) { return step(ev::Received{std::move(message)}); }
    void start(bool dry = false, bool lanes = false) {
        dry_run = dry;
        core = SourceCore({.target_name = "a", .dry_run = dry_run, .further_lanes = lanes});
        EXPECT_EQ(step(ev::Started{}), "send1");
    }
    std::string plan(RunMode mode, bool resume = false) {
        EXPECT_EQ(hear(HelloMessage{}), "send2");
        EXPECT_EQ(hear(OpenedMessage{}), "plan");
        std::string done =
            planned({.mode = mode, .resume = resume},
                    {.run = uuid_of(9), .mode = mode, .verify = verify, .next_base = kNext});
        if (dry_run) return done;
        EXPECT_EQ(done, mode == RunMode::kScan || resume ? "note-run" : "note-run read-ahead");
        return step(ev::Noted{});
    }
    std::string planned(const RunDecision& decision, const BeginMessage& begin) {
        return step(ev::Planned{.decision = decision, .begin = begin});
    }
    std::string sealed(const RunDigest& digest, const Base& base, bool reread = false) {
        return hear(SealedMessage{.digest = digest, .reread = reread, .base = base});
    }

    bool verify = false;
    bool dry_run = false;
    Instant now{std::chrono::hours(1)};
    SourceCore core{{}};
};

TEST_F(SourceCoreTest, AFullRun) {
    start();
    EXPECT_EQ(plan(RunMode::kFull), "send4");
    EXPECT_EQ(hear(BegunMessage{}), "transfer");
    EXPECT_EQ(hear(AckMessage{77}), "");
    EXPECT_EQ(core.durable_bytes(), 77U);
    EXPECT_EQ(step(ev::AllSent{{1, 2, 3}}), "send11");
    EXPECT_EQ(hear(AckMessage{78}), "");
    EXPECT_EQ(sealed({1, 2, 3}, kNext), "commit");
    EXPECT_FALSE(core.succeeded());
    EXPECT_EQ(step(ev::Committed{}), "finish");
    EXPECT_TRUE(core.succeeded());
}

TEST_F(SourceCoreTest, TheTargetHearsOfNoRunThatIsNotNoted) {
    start();
    hear(HelloMessage{});
    hear(OpenedMessage{});
    EXPECT_EQ(step(ev::Noted{}), "");
    EXPECT_EQ(planned({.mode = RunMode::kFull}, {.run = uuid_of(9), .mode = RunMode::kFull}),
              "note-run read-ahead");
    EXPECT_EQ(step(ev::Failed{{Code::kNoSpace, 0, ""}}), "tell-no-space");
    EXPECT_EQ(step(ev::Noted{}), "");
}

TEST_F(SourceCoreTest, AScanSendsWhatDiffers) {
    start();
    EXPECT_EQ(plan(RunMode::kScan), "send4");
    EXPECT_EQ(hear(BegunMessage{}), "compare");
    EXPECT_EQ(hear(DigestsMessage{}), "theirs");
    EXPECT_EQ(step(ev::Compared{}), "transfer");
}

TEST_F(SourceCoreTest, AResumedRunComparesWhatIsAcknowledged) {
    start();
    EXPECT_EQ(plan(RunMode::kFull, true), "send4");
    EXPECT_EQ(hear(BegunMessage{}), "");
    EXPECT_EQ(hear(RangesMessage{}), "acknowledged");
    EXPECT_EQ(hear(RangesMessage{.last = true}), "acknowledged compare");
    EXPECT_EQ(hear(DigestsMessage{.last = true}), "theirs");
    EXPECT_EQ(step(ev::Compared{}), "transfer");
}

TEST_F(SourceCoreTest, WhatIsSuspectedOrAuditedIsToldAndCompared) {
    start();
    hear(HelloMessage{});
    hear(OpenedMessage{});
    EXPECT_EQ(
        planned({.mode = RunMode::kExtents}, {.mode = RunMode::kExtents, .compare_listed = true}),
        "note-run");
    EXPECT_EQ(step(ev::Noted{}), "send4");
    EXPECT_EQ(hear(BegunMessage{}), "tell-listed compare");
    EXPECT_EQ(hear(DigestsMessage{.last = true}), "theirs");
    EXPECT_EQ(step(ev::Compared{}), "transfer");
}

TEST_F(SourceCoreTest, FurtherConnectionsJoinBeforeThePlan) {
    start(false, true);
    EXPECT_EQ(hear(HelloMessage{}), "send2");
    EXPECT_EQ(hear(OpenedMessage{}), "join");
    EXPECT_EQ(step(ev::Planned{}), "");
    EXPECT_EQ(step(ev::LanesJoined{}), "plan");
    start(true, true);
    hear(HelloMessage{});
    EXPECT_EQ(hear(OpenedMessage{}), "plan");
}

TEST_F(SourceCoreTest, ADryRunEndsBeforeAnythingIsSent) {
    start(true);
    EXPECT_EQ(plan(RunMode::kFull), "finish");
    start(true);
    EXPECT_EQ(plan(RunMode::kScan), "send4");
    EXPECT_EQ(hear(BegunMessage{}), "compare");
    EXPECT_EQ(step(ev::Compared{}), "finish");
}

TEST_F(SourceCoreTest, ZerosAreLeftOutWhereTheTargetReadsAsZeros) {
    start();
    plan(RunMode::kFull);
    EXPECT_EQ(hear(BegunMessage{.zeroed = true}), "transfer-without-zeros");
}

TEST_F(SourceCoreTest, AnotherAttestationIsNoSuccess) {
    const Base other{.source = uuid_of(1), .sequence = 6, .point = uuid_of(3)};
    const std::pair<RunDigest, Base> cases[] = {
        {{1, 2, 4}, kNext}, {{1, 3, 3}, kNext}, {{0, 2, 3}, kNext}, {{1, 2, 3}, other}};
    for (const auto& [digest, base] : cases) {
        start();
        plan(RunMode::kFull);
        hear(BegunMessage{});
        step(ev::AllSent{{1, 2, 3}});
        EXPECT_EQ(sealed(digest, base), "tell-corrupt");
        EXPECT_EQ(step(ev::Committed{}), "");
        EXPECT_FALSE(core.succeeded());
    }
}

TEST_F(SourceCoreTest, VerifyWantsAReread) {
    verify = true;
    for (const bool reread : {true, false}) {
        start();
        plan(RunMode::kFull);
        hear(BegunMessage{});
        step(ev::AllSent{{1, 2, 3}});
        EXPECT_EQ(sealed({1, 2, 3}, kNext, reread), reread ? "commit" : "tell-protocol");
    }
}

// The wish of the moment when all was sent counts, where the target can be told of another.
TEST_F(SourceCoreTest, VerifyMayBeChangedUntilAllIsSent) {
    for (const bool begun : {true, false}) {
        for (const bool hears : {true, false}) {
            verify = begun;
            start();
            hear(HelloMessage{.capabilities = hears ? wire::kCapVerify : 0});
            hear(OpenedMessage{});
            planned(
                {.mode = RunMode::kFull},
                {.run = uuid_of(9), .mode = RunMode::kFull, .verify = verify, .next_base = kNext});
            step(ev::Noted{});
            hear(BegunMessage{});
            EXPECT_EQ(step(ev::AllSent{.digest = {1, 2, 3}, .verify = !begun}),
                      hears ? "send18 send11" : "send11");
            const bool wanted = hears ? !begun : begun;
            EXPECT_EQ(core.stage(), wanted ? "Verify" : "Seal");
            EXPECT_EQ(sealed({1, 2, 3}, kNext, !wanted), wanted ? "tell-protocol" : "commit");
        }
    }
    start();
    plan(RunMode::kFull);
    hear(BegunMessage{});
    EXPECT_EQ(step(ev::AllSent{.digest = {1, 2, 3}, .verify = verify}), "send11") << "as it was";
}

TEST_F(SourceCoreTest, MessagesOutOfTheirPhaseEndTheRun) {
    const std::vector<Message> messages{HelloMessage{},
                                        OpenMessage{},
                                        OpenedMessage{},
                                        BeginMessage{},
                                        BegunMessage{},
                                        RangesMessage{},
                                        DigestsMessage{},
                                        ZeroMessage{},
                                        AckMessage{},
                                        EndMessage{},
                                        SealedMessage{.digest = {1, 2, 3}, .base = kNext},
                                        JoinedMessage{}};
    using Set = std::vector<std::size_t>;
    // Hello, Open, Plan, Note, Begin, Compare, Transfer, Sealing, Commit.
    const Set belongs[] = {{0}, {2}, {}, {}, {4}, {6}, {8}, {8, 10}, {}};
    for (int phase = 0; phase < 9; ++phase) {
        for (std::size_t i = 0; i < messages.size(); ++i) {
            start();
            if (phase > 0) hear(HelloMessage{});
            if (phase > 1) hear(OpenedMessage{});
            if (phase > 2) planned({.mode = RunMode::kScan}, {.next_base = kNext});
            if (phase > 3) step(ev::Noted{});
            if (phase > 4) hear(BegunMessage{});
            if (phase > 5) step(ev::Compared{});
            if (phase > 6) step(ev::AllSent{{1, 2, 3}});
            if (phase > 7) hear(messages[10]);
            const std::string done = hear(messages[i]);
            const Set& fine = belongs[phase];
            const bool belonged = std::find(fine.begin(), fine.end(), i) != fine.end();
            EXPECT_EQ(done == "tell-protocol", !belonged) << i << " in " << phase << ": " << done;
            EXPECT_EQ(core.finished(), !belonged);
        }
    }
}

TEST_F(SourceCoreTest, ErrorsOfTheTargetAreNotAnswered) {
    start();
    EXPECT_EQ(hear(ErrorMessage{.code = Code::kNoSpace}), "fail-no-space");
    EXPECT_EQ(step(ev::Failed{{Code::kIo, 0, ""}}), "");
}

// Of a run that was begun: before that there is none that it could be noted of.
TEST_F(SourceCoreTest, AFailedFlushOfTheTargetIsNoted) {
    const ErrorMessage error{.code = Code::kIo, .flush_failed = true};
    start();
    EXPECT_EQ(hear(error), "fail-io");
    start();
    plan(RunMode::kFull);
    EXPECT_EQ(hear(error), "note fail-io");
    start();
    plan(RunMode::kFull);
    hear(BegunMessage{});
    EXPECT_EQ(hear(error), "note fail-io");
}

TEST_F(SourceCoreTest, FailuresAreToldUnlessNobodyListens) {
    start();
    EXPECT_EQ(step(ev::Failed{{Code::kIo, EIO, ""}}), "tell-io");
    start();
    EXPECT_EQ(step(ev::Failed{{Code::kDisconnected, 0, ""}}), "fail-disconnected");
}

TEST_F(SourceCoreTest, VersionsAndNamesThatDoNotFit) {
    start();
    EXPECT_EQ(hear(HelloMessage{.version_min = 2, .version_max = 3}), "tell-unsupported");
    core = SourceCore({.target_name = std::string(1024, 'n')});
    step(ev::Started{});
    EXPECT_EQ(hear(HelloMessage{}), "send2");
    core = SourceCore({.target_name = std::string(1025, 'n')});
    step(ev::Started{});
    EXPECT_EQ(hear(HelloMessage{}), "tell-invalid");
}

TEST_F(SourceCoreTest, SendsNoCodecThatTheTargetDidNotSay) {
    const auto hello = [](std::uint64_t capabilities) {
        return HelloMessage{.capabilities = capabilities};
    };
    core = SourceCore({.target_name = "a", .compression = {.codec = CodecChoice::kZstd}});
    step(ev::Started{});
    EXPECT_EQ(hear(hello(wire::kCapDeflate)), "tell-unsupported");
    core = SourceCore({.target_name = "a"});
    step(ev::Started{});
    EXPECT_EQ(hear(hello(wire::kCapDeflate)), "send2");
    EXPECT_EQ(core.compression().codec, CodecChoice::kDeflate);
}

TEST_F(SourceCoreTest, PingsOnceHelloWasHeard) {
    start();
    now += 60s;
    EXPECT_EQ(step(ev::Tick{}), "");
    hear(HelloMessage{});
    EXPECT_EQ(step(ev::Tick{}), "send14");
    now += 499ms;
    EXPECT_EQ(step(ev::Tick{}), "");
    now += 1ms;
    EXPECT_EQ(step(ev::Tick{}), "send14");
}

TEST_F(SourceCoreTest, SeveralVolumesAreToldBeforeTheyAreOpened) {
    const auto layout = VolumeLayout::of({{"a", uuid_of(1), 5}, {"b", uuid_of(2), 7}});
    core = SourceCore({.target_name = "a", .layout = *layout});
    step(ev::Started{});
    EXPECT_EQ(hear(HelloMessage{}), "send16 send2");
    // An older target would take them for one volume.
    core = SourceCore({.target_name = "a", .layout = *layout});
    step(ev::Started{});
    EXPECT_EQ(hear(HelloMessage{.capabilities = wire::kCapDeflate}), "tell-unsupported");
}

TEST_F(SourceCoreTest, TheMomentIsToldToWhoHearsIt) {
    for (const bool hears : {true, false}) {
        start();
        const std::uint64_t codecs = wire::kCapDeflate | wire::kCapZstd;
        hear(HelloMessage{.capabilities = codecs | (hears ? wire::kCapVolumes : 0)});
        hear(OpenedMessage{});
        planned({.mode = RunMode::kFull}, {.run = uuid_of(9), .mode = RunMode::kFull});
        step(ev::Noted{});
        hear(BegunMessage{});
        EXPECT_EQ(step(ev::AllSent{.digest = {1, 2, 3}, .moment = MomentMessage{}}),
                  hears ? "send17 send11" : "send11");
    }
}

}  // namespace
}  // namespace towline
