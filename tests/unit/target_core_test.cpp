// SPDX-License-Identifier: Apache-2.0
// The target's decisions as traces: what happens on the left, what is to be done on the right.
// Nothing is written before the mark, acknowledged before flush and journal, or sealed incomplete.

#include "userspace/engine/target_core.hpp"

#include <gtest/gtest.h>

#include "tests/unit/memory_stores.hpp"

namespace towline {
namespace {

using testing::uuid_of;
namespace ev = target_event;
namespace act = target_action;

constexpr std::uint32_t kBlock = 4096;
constexpr std::uint64_t kVolume = 100 * kBlock + 10;
const Uuid kSource = uuid_of(1);
const Base kOld{.source = kSource, .sequence = 4, .point = uuid_of(2)};
const Base kNext{.source = kSource, .sequence = 5, .point = uuid_of(3)};

std::string name(const act::Send& send) {
    return "send" + std::to_string(static_cast<int>(type_of(send.message)));
}
std::string name(const act::Look&) {
    return "look";
}
std::string name(const act::Prepare&) {
    return "prepare";
}
std::string name(const act::Begin&) {
    return "begin";
}
std::string name(const act::CompareAll&) {
    return "compare-all";
}
std::string name(const act::CompareAcknowledged&) {
    return "compare-acknowledged";
}
std::string name(const act::CompareListed& compare) {
    return "compare-listed-" + std::to_string(compare.wanted.marked_blocks());
}
std::string name(const act::Mark& mark) {
    const bool building = mark.record.state == TargetState::kBuilding;
    return std::string("mark-") + (building ? "building" : "applying") +
           (mark.keep_journal ? "-keep" : "");
}
std::string name(const act::Commit&) {
    return "commit";
}
// How what is staged comes onto the volume is looked at by tests/sim.
template <typename OfStaged>
std::string name(const OfStaged&) {
    return "of-staged";
}
std::string name(const act::Flush&) {
    return "flush";
}
std::string name(const act::Journal& journal) {
    return "journal" + std::to_string(total_bytes(journal.extents) / kBlock);
}
std::string name(const act::AnswerProbe& probe) {
    return "answer" + std::to_string(probe.bytes);
}
std::string name(const act::ProbeDisk&) {
    return "probe-disk";
}
std::string name(const act::Reread&) {
    return "reread";
}
std::string name(const act::Seal& seal) {
    return seal.reread ? "seal-reread" : "seal";
}
std::string name(const act::Fail& fail) {
    return "fail-" + std::string(code_name(fail.error.code));
}

class TargetCoreTest : public ::testing::Test {
  protected:
    TargetCoreTest() {
        facts.exists = facts.is_device = true;
        facts.size_bytes = kVolume;
        facts.record.target = uuid_of(7);
    }
    std::string step(const TargetEvent& event) {
        actions.clear();
        core.set_own_digest(digest);
        core.step(event, now, actions);
        std::string text;
        for (const TargetAction& action : actions)
            text += (text.empty() ? "" : " ") +
                    std::visit([](const auto& each) { return name(each); }, action);
        return text;
    }
    std::string hear(Message message) { return step(ev::Received{std::move(message)}); }

    BeginMessage begin(RunMode mode) const {
        return {.run = uuid_of(9),
                .mode = mode,
                .block_bytes = kBlock,
                .plan_digest = 11,
                .expected_state = facts.record.state,
                .expected_base = facts.record.base,
                .next_base = kNext};
    }
    void to_open() {
        EXPECT_EQ(hear(HelloMessage{}), "send1");
        EXPECT_EQ(hear(OpenMessage{.name = "a", .source = kSource, .source_bytes = volume}),
                  "look");
        EXPECT_EQ(step(ev::Looked{.facts = facts}), "send3");
    }
    void to_transfer(const BeginMessage& message) {
        to_open();
        EXPECT_EQ(hear(message), "prepare");
        EXPECT_EQ(step(ev::Prepared{}), "begin send5");
    }
    void seal_a_record(TargetState state) {
        facts.record = {.state = state,
                        .target = uuid_of(7),
                        .base = state == TargetState::kBuilding ? Base{} : kOld,
                        .owner = kSource,
                        .run = uuid_of(9),
                        .run_mode = RunMode::kFull,
                        .plan_digest = 11,
                        .volume_bytes = kVolume};
    }
    Extent blocks(std::uint64_t first, std::uint64_t count) const {
        return {first * kBlock, count * kBlock};
    }
    std::string arrive(Extent extent) {
        EXPECT_TRUE(core.admit(extent));
        ++digest.records;
        ++digest.low;
        return step(ev::Arrived{extent});
    }

    TargetFacts facts;
    std::uint64_t volume = kVolume;
    RunDigest digest;
    Instant now{std::chrono::hours(1)};
    TargetCore core{"test", {.checkpoint_bytes = 4 * kBlock}};
    std::vector<TargetAction> actions;
};

TEST_F(TargetCoreTest, AFullRunFromHelloToSealed) {
    to_transfer(begin(RunMode::kFull));
    EXPECT_EQ(arrive(blocks(0, 2)), "mark-building");
    EXPECT_EQ(arrive(blocks(2, 2)), "");
    EXPECT_EQ(step(ev::Stored{blocks(0, 2)}), "");
    EXPECT_EQ(step(ev::Stored{blocks(2, 2)}), "flush");
    EXPECT_EQ(arrive(blocks(4, 1)), "");
    EXPECT_EQ(step(ev::Stored{blocks(4, 1)}), "");
    EXPECT_EQ(step(ev::Flushed{}), "journal4");  // what was stored after the flush began is not in
    EXPECT_EQ(step(ev::Journaled{}), "send10");
    EXPECT_EQ(std::get<AckMessage>(std::get<act::Send>(actions[0]).message).durable_bytes,
              4 * kBlock);
    EXPECT_EQ(hear(EndMessage{digest}), "flush");
    EXPECT_EQ(step(ev::Flushed{}), "seal");
    const TargetRecord& record = std::get<act::Seal>(actions[0]).record;
    EXPECT_EQ(record.base, kNext);
    EXPECT_EQ(record.owner, kSource);
    EXPECT_FALSE(core.sealed());
    EXPECT_EQ(step(ev::Sealed{}), "");
    EXPECT_TRUE(core.sealed());
}

TEST_F(TargetCoreTest, NothingArrivedIsSealedWithoutAMark) {
    seal_a_record(TargetState::kSealed);
    to_transfer(begin(RunMode::kExtents));
    // What is attested was read, perhaps from a cache: it is flushed before it counts.
    EXPECT_EQ(hear(EndMessage{}), "flush");
    EXPECT_EQ(step(ev::Flushed{}), "seal");
}

TEST_F(TargetCoreTest, ARunUponABaseKeepsItAsApplying) {
    seal_a_record(TargetState::kSealed);
    to_transfer(begin(RunMode::kExtents));
    EXPECT_EQ(arrive(blocks(0, 1)), "mark-applying");
    EXPECT_EQ(std::get<act::Mark>(actions[0]).record.base, kOld);
    EXPECT_EQ(std::get<act::Mark>(actions[0]).record.run_base, kNext);
}

TEST_F(TargetCoreTest, AScanTakesBlocksOnlyBehindItsDigests) {
    to_open();
    EXPECT_EQ(hear(begin(RunMode::kScan)), "prepare");
    EXPECT_EQ(step(ev::Prepared{}), "begin send5 compare-all");
    EXPECT_FALSE(core.admit(blocks(0, 1)));
    EXPECT_EQ(step(ev::CompareSent{}), "");
    EXPECT_TRUE(core.admit(blocks(0, 1)));
}

TEST_F(TargetCoreTest, AResumedRunKeepsTheJournal) {
    seal_a_record(TargetState::kBuilding);
    BeginMessage message = begin(RunMode::kFull);
    message.resume = true;
    to_open();
    EXPECT_EQ(hear(message), "prepare");
    EXPECT_EQ(step(ev::Prepared{}), "begin send5 compare-acknowledged");
    EXPECT_EQ(step(ev::CompareSent{}), "");
    EXPECT_EQ(arrive(blocks(0, 1)), "mark-building-keep");
}

TEST_F(TargetCoreTest, LateBlocksAreWaitedFor) {
    to_transfer(begin(RunMode::kFull));
    arrive(blocks(0, 1));
    EXPECT_EQ(step(ev::Stored{blocks(0, 1)}), "");
    EXPECT_EQ(hear(EndMessage{{2, 0, 2}}), "");  // one more over another connection
    EXPECT_EQ(arrive(blocks(1, 1)), "");
    EXPECT_EQ(step(ev::Stored{blocks(1, 1)}), "flush");
    EXPECT_FALSE(core.admit(blocks(2, 1)));  // not counted by End
    EXPECT_EQ(step(ev::Flushed{}), "seal");
}

TEST_F(TargetCoreTest, EndInMidCheckpointWaitsForIt) {
    to_transfer(begin(RunMode::kFull));
    arrive(blocks(0, 4));
    EXPECT_EQ(step(ev::Stored{blocks(0, 4)}), "flush");
    EXPECT_EQ(hear(EndMessage{digest}), "");
    EXPECT_EQ(step(ev::Flushed{}), "flush");
    EXPECT_EQ(step(ev::Flushed{}), "seal");
}

TEST_F(TargetCoreTest, EndWhileJournalingAcknowledgesFirst) {
    to_transfer(begin(RunMode::kFull));
    arrive(blocks(0, 4));
    EXPECT_EQ(step(ev::Stored{blocks(0, 4)}), "flush");
    EXPECT_EQ(step(ev::Flushed{}), "journal4");
    EXPECT_EQ(hear(EndMessage{digest}), "");
    EXPECT_EQ(step(ev::Journaled{}), "send10 flush");
    EXPECT_EQ(step(ev::Flushed{}), "seal");
}

TEST_F(TargetCoreTest, TimeAloneMakesACheckpoint) {
    to_transfer(begin(RunMode::kFull));
    arrive(blocks(0, 1));
    EXPECT_EQ(step(ev::Stored{blocks(0, 1)}), "");
    now += 499ms;
    EXPECT_EQ(step(ev::Tick{}), "");
    now += 500ms;
    EXPECT_EQ(step(ev::Tick{}), "send14");  // a ping, no checkpoint yet
    now += 1ms;
    EXPECT_EQ(step(ev::Tick{}), "flush");
}

TEST_F(TargetCoreTest, DigestsThatDifferFailTheRun) {
    for (const RunDigest said : {RunDigest{2, 0, 1}, RunDigest{1, 1, 1}, RunDigest{1, 0, 0}}) {
        digest = {};
        core = TargetCore("test");
        to_transfer(begin(RunMode::kFull));
        arrive(blocks(0, 1));
        step(ev::Stored{blocks(0, 1)});
        const std::string done = hear(EndMessage{said});
        EXPECT_EQ(done, said.records == 0 ? "fail-protocol" : "fail-corrupt");
        EXPECT_TRUE(core.finished() && !core.sealed());
    }
}

TEST_F(TargetCoreTest, NothingIsSealedWhileAWriteIsUnderWay) {
    to_transfer(begin(RunMode::kFull));
    arrive(blocks(0, 1));
    EXPECT_EQ(hear(EndMessage{digest}), "");
    EXPECT_EQ(step(ev::Stored{blocks(0, 1)}), "flush");
}

TEST_F(TargetCoreTest, VerifyReadsBackBeforeTheSeal) {
    for (const bool equal : {true, false}) {
        digest = {};
        core = TargetCore("test");
        BeginMessage message = begin(RunMode::kFull);
        message.verify = true;
        to_transfer(message);
        arrive(blocks(0, 1));
        step(ev::Stored{blocks(0, 1)});
        EXPECT_EQ(hear(EndMessage{digest}), "flush");
        EXPECT_EQ(step(ev::Flushed{}), "reread");
        EXPECT_EQ(step(ev::Reread{equal}), equal ? "seal-reread" : "fail-corrupt");
    }
}

TEST_F(TargetCoreTest, AdmitsEachBlockOfTheVolumeOnce) {
    to_transfer(begin(RunMode::kFull));
    EXPECT_TRUE(core.admit({100 * kBlock, 10}));  // the tail
    for (const Extent bad : {Extent{100 * kBlock, 10}, Extent{0, 0}, Extent{0, 10},
                             Extent{1, kBlock}, Extent{101 * kBlock, kBlock},
                             Extent{0, kVolume + 1}, Extent{UINT64_MAX - kBlock + 1, kBlock},
                             Extent{kBlock, UINT64_MAX}, Extent{99 * kBlock, kBlock + 10}}) {
        EXPECT_FALSE(core.admit(bad)) << bad.offset_bytes << " " << bad.length_bytes;
    }
    EXPECT_TRUE(core.admit(blocks(3, 2)));
    EXPECT_FALSE(core.admit(blocks(2, 2)));
    EXPECT_TRUE(core.admit(blocks(2, 1)));
}

// Every message in every phase: what belongs there does what it does, all else ends the session.
TEST_F(TargetCoreTest, MessagesOutOfTheirPhaseEndTheSession) {
    const std::vector<Message> messages{
        HelloMessage{},   OpenMessage{.source = kSource, .source_bytes = kVolume},
        OpenedMessage{},  begin(RunMode::kFull),
        BegunMessage{},   RangesMessage{},
        DigestsMessage{}, ZeroMessage{},
        AckMessage{},     EndMessage{},
        SealedMessage{},  JoinedMessage{}};
    // Hello, Open, Look, Begin, Prepare, Transfer, Seal.
    const std::size_t belongs[] = {0, 1, 99, 3, 99, 9, 99};
    for (int phase = 0; phase < 7; ++phase) {
        for (std::size_t i = 0; i < messages.size(); ++i) {
            core = TargetCore("test");
            if (phase > 0) hear(messages[0]);
            if (phase > 1) hear(messages[1]);
            if (phase > 2) step(ev::Looked{.facts = facts});
            if (phase > 3) hear(messages[3]);
            if (phase > 4) step(ev::Prepared{});
            if (phase > 5) hear(EndMessage{});
            const std::string done = hear(messages[i]);
            if (i != belongs[phase]) {
                EXPECT_EQ(done, "fail-protocol") << "message " << i << " in phase " << phase;
                EXPECT_EQ(step(ev::Tick{}), "");
            } else {
                EXPECT_FALSE(core.finished()) << "message " << i << " in phase " << phase;
            }
        }
    }
}

TEST_F(TargetCoreTest, EventsOutOfTheirPhaseDoNothing) {
    const TargetEvent events[] = {ev::Looked{},  ev::Prepared{},  ev::CompareSent{},
                                  ev::Flushed{}, ev::Journaled{}, ev::Reread{true}};
    for (const TargetEvent& event : events)
        EXPECT_EQ(step(event), "");
    EXPECT_EQ(hear(HelloMessage{}), "send1");
}

TEST_F(TargetCoreTest, BeginIsBelievedInNothing) {
    const auto refused = [&](auto change, const char* how) {
        core = TargetCore("test");
        to_open();
        BeginMessage message = begin(RunMode::kFull);
        change(message);
        EXPECT_EQ(hear(message), how);
    };
    const auto nothing = [](BeginMessage&) {};
    refused(nothing, "prepare");
    refused([](BeginMessage& m) { m.block_bytes = 4097; }, "fail-protocol");
    refused([](BeginMessage& m) { m.block_bytes = 2048; }, "fail-protocol");
    refused([](BeginMessage& m) { m.block_bytes = 2 << 20; }, "fail-protocol");
    refused([](BeginMessage& m) { m.next_base.source = uuid_of(5); }, "fail-protocol");
    refused([](BeginMessage& m) { m.run = {}; }, "fail-protocol");
    refused([](BeginMessage& m) { m.expected_state = TargetState::kSealed; }, "fail-refused");
    refused([](BeginMessage& m) { m.expected_base = kOld; }, "fail-refused");
    refused([](BeginMessage& m) { m.resume = true; }, "fail-refused");
    refused([](BeginMessage& m) { m.mode = RunMode::kExtents; }, "fail-refused");
    facts.size_bytes = kVolume - 1;
    refused(nothing, "fail-refused");
    facts.size_bytes = kVolume;
    facts.has_data = true;
    refused(nothing, "fail-refused");
    refused([](BeginMessage& m) { m.overwrite = true; }, "prepare");
    seal_a_record(TargetState::kSealed);
    facts.record.owner = uuid_of(5);
    refused(nothing, "fail-refused");
    refused([](BeginMessage& m) { m.overwrite = true; }, "prepare");
    seal_a_record(TargetState::kSealed);
    facts.record.volume_bytes = kVolume + 1;
    refused([](BeginMessage& m) { m.mode = RunMode::kExtents; }, "fail-refused");
    seal_a_record(TargetState::kApplying);
    refused([](BeginMessage& m) { m.resume = true; }, "prepare");
    refused([](BeginMessage& m) { m.resume = true, m.plan_digest = 12; }, "fail-refused");
    refused([](BeginMessage& m) { m.resume = true, m.run = uuid_of(5); }, "fail-refused");
    facts.record.flush_failed_run = uuid_of(9);
    refused(nothing, "prepare");
    refused([](BeginMessage& m) { m.mode = RunMode::kScan; }, "fail-refused");
    refused([](BeginMessage& m) { m.mode = RunMode::kExtents; }, "fail-refused");
    refused([](BeginMessage& m) { m.resume = true; }, "fail-refused");
    facts.record.flush_failed_run = uuid_of(5);
    refused([](BeginMessage& m) { m.resume = true; }, "prepare");
    volume = 0;
    refused(nothing, "fail-refused");
}

// Until a full run is sealed the record goes on saying it, whatever is begun and cut off meanwhile.
TEST_F(TargetCoreTest, AFailedFlushIsKeptUntilASeal) {
    seal_a_record(TargetState::kApplying);
    facts.record.flush_failed_run = uuid_of(5);
    to_open();
    EXPECT_EQ(hear(begin(RunMode::kFull)), "prepare");
    EXPECT_TRUE(std::get<act::Prepare>(actions[0]).rewrite);
    step(ev::Prepared{});
    EXPECT_EQ(arrive(blocks(0, 1)), "mark-applying");
    EXPECT_EQ(std::get<act::Mark>(actions[0]).record.flush_failed_run, uuid_of(5));
    EXPECT_EQ(core.record_flush_failed().flush_failed_run, uuid_of(9));
    step(ev::Stored{blocks(0, 1)});
    EXPECT_EQ(hear(EndMessage{digest}), "flush");
    EXPECT_EQ(step(ev::Flushed{}), "seal");
    EXPECT_TRUE(std::get<act::Seal>(actions[0]).record.flush_failed_run.is_nil());
}

TEST_F(TargetCoreTest, AFlushThatFailsIsSaidAsSuch) {
    to_transfer(begin(RunMode::kFull));
    arrive(blocks(0, 1));
    EXPECT_EQ(step(ev::FlushFailed{{Code::kIo, EIO, "broken"}}), "fail-io");
    EXPECT_TRUE(std::get<act::Fail>(actions[0]).flush_failed);
}

TEST_F(TargetCoreTest, ADryRunTakesNeitherBlocksNorEnd) {
    BeginMessage message = begin(RunMode::kFull);
    message.dry_run = true;
    to_transfer(message);
    EXPECT_FALSE(core.admit(blocks(0, 1)));
    EXPECT_EQ(hear(EndMessage{}), "fail-protocol");
}

TEST_F(TargetCoreTest, PingsFromHelloOn) {
    now += 60s;
    EXPECT_EQ(step(ev::Tick{}), "");
    hear(HelloMessage{});
    EXPECT_EQ(step(ev::Tick{}), "");
    now += 5s;
    EXPECT_EQ(step(ev::Tick{}), "send14");
    EXPECT_EQ(step(ev::Tick{}), "");
}

// Named blocks of a run of listed changes are compared first: hot regions, an audit's sample.
TEST_F(TargetCoreTest, ListedBlocksAreDigested) {
    seal_a_record(TargetState::kSealed);
    BeginMessage message = begin(RunMode::kExtents);
    message.compare_listed = true;
    to_transfer(message);
    EXPECT_FALSE(core.admit(blocks(0, 1)));
    EXPECT_EQ(hear(RangesMessage{.ranges = {{kBlock, 1}}}), "");
    EXPECT_EQ(hear(RangesMessage{.ranges = {{3 * kBlock, 2 * kBlock}}, .last = true}),
              "compare-listed-3");
    EXPECT_EQ(step(ev::CompareSent{}), "");
    EXPECT_TRUE(core.admit(blocks(0, 1)));
}

TEST_F(TargetCoreTest, WhatIsListedIsOfTheVolume) {
    seal_a_record(TargetState::kSealed);
    BeginMessage message = begin(RunMode::kExtents);
    message.compare_listed = true;
    to_transfer(message);
    EXPECT_EQ(hear(RangesMessage{.ranges = {{kBlock, kVolume}}}), "fail-protocol");
}

TEST_F(TargetCoreTest, RangesThatNobodyAskedForAreRefused) {
    seal_a_record(TargetState::kSealed);
    to_transfer(begin(RunMode::kExtents));
    EXPECT_EQ(hear(RangesMessage{.last = true}), "fail-protocol");
}

TEST_F(TargetCoreTest, OnlyAListCanBeCompared) {
    seal_a_record(TargetState::kSealed);
    BeginMessage message = begin(RunMode::kFull);
    message.compare_listed = true;
    to_open();
    EXPECT_EQ(hear(message), "fail-protocol");
}

VolumesMessage two_volumes() {
    return {{{"a", kSource, kVolume}, {"b", uuid_of(31), 7}}};
}

TEST_F(TargetCoreTest, SeveralVolumesAreOne) {
    const std::uint64_t all = VolumeLayout::of(two_volumes().volumes)->size_bytes();
    hear(HelloMessage{});
    EXPECT_EQ(hear(two_volumes()), "");
    EXPECT_EQ(hear(OpenMessage{.name = "a", .source = kSource, .source_bytes = all}), "look");
    EXPECT_EQ(std::get<act::Look>(actions.front()).layout.parts().size(), 2U);
}

TEST_F(TargetCoreTest, VolumesMustBeThoseThatAreOpened) {
    const std::uint64_t all = VolumeLayout::of(two_volumes().volumes)->size_bytes();
    const OpenMessage wrong[] = {
        {.name = "a", .source = kSource, .source_bytes = kVolume},
        {.name = "a", .source = uuid_of(31), .source_bytes = all},
    };
    for (const OpenMessage& each : wrong) {
        core = TargetCore("test");
        hear(HelloMessage{});
        hear(two_volumes());
        EXPECT_EQ(hear(each), "fail-protocol");
    }
}

TEST_F(TargetCoreTest, VolumesComeOnceAndBeforeTheyAreOpened) {
    hear(HelloMessage{});
    hear(two_volumes());
    EXPECT_EQ(hear(two_volumes()), "fail-protocol");
    core = TargetCore("test");
    to_open();
    EXPECT_EQ(hear(two_volumes()), "fail-protocol");
    core = TargetCore("test");
    hear(HelloMessage{});
    EXPECT_EQ(hear(VolumesMessage{{{"a/b", kSource, 5}}}), "fail-protocol");
}

}  // namespace
}  // namespace towline
