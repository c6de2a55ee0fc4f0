// SPDX-License-Identifier: Apache-2.0
// Runs into a vault, and their points read back.

#include <algorithm>

#include "vault_fixture.hpp"

namespace towline::testing {

namespace {

struct RunWriterTest : ::testing::Test {
    TemporaryFolder folder;
    VaultModel model{new_vault(folder.path() + "/vault"), 100 * kBlock + 123};
};

}  // namespace

TEST_F(RunWriterTest, FirstRunReadsBack) {
    model.change_some(60);
    const auto point = model.full();
    ASSERT_TRUE(point) << point.error().text();
    EXPECT_EQ(point->sequence, 1U);
    EXPECT_EQ(model.check_all(), 1U);
}

TEST_F(RunWriterTest, EveryPointKeepsItsMoment) {
    model.change_some(80);
    ASSERT_TRUE(model.full());
    for (int i = 0; i < 40; ++i) {
        const auto point = model.run(RunMode::kExtents, model.change_some(1 + i % 7));
        ASSERT_TRUE(point) << point.error().text();
        EXPECT_LE(point->volumes[0].indexes.size(), 31U);
    }
    EXPECT_EQ(model.check_all(), 41U);
}

TEST_F(RunWriterTest, ARunOfNothingIsAPoint) {
    ASSERT_TRUE(model.full());
    ASSERT_TRUE(model.run(RunMode::kExtents, {}));
    EXPECT_EQ(model.check_all(), 2U);
}

TEST_F(RunWriterTest, OddRangesReadBack) {
    model.change_some(90);
    const auto point = model.full();
    ASSERT_TRUE(point);
    const auto open = OpenPoint::open(model.vault(), model.series, "latest");
    ASSERT_TRUE(open);
    const auto volume = open->volume(0);
    ASSERT_TRUE(volume);
    for (int i = 0; i < 500; ++i) {
        const std::uint64_t offset = model.random()() % model.contents().size();
        const std::uint64_t length =
            1 + model.random()() %
                    std::min<std::uint64_t>(3 * kBlock, model.contents().size() - offset);
        Bytes bytes(length);
        ASSERT_TRUE((*volume)->read(offset, bytes));
        EXPECT_TRUE(std::ranges::equal(bytes, ByteSpan(model.contents()).subspan(offset, length)));
    }
    Bytes past(1);
    EXPECT_EQ(error_of((*volume)->read(model.contents().size(), past)).code, Code::kInvalid);
}

TEST_F(RunWriterTest, AResumedRunHasWhatEarlierSessionsFlushed) {
    model.change_some(50);
    ASSERT_TRUE(model.full());
    const auto blocks = model.change_some(30);
    {
        const auto writer = model.begin(RunMode::kExtents);
        ASSERT_TRUE(writer);
        for (int i = 0; i < 20; ++i)
            ASSERT_TRUE(model.put(**writer, blocks[i]));
        ASSERT_TRUE((*writer)->flush());
    }
    EXPECT_EQ(model.check_all(), 1U);  // nothing of it is visible
    // One of those changed again since: it comes again.
    model.change(blocks[3]);
    const auto state = SeriesLog(model.vault(), model.series).read();
    ASSERT_TRUE(state && state->unfinished() != nullptr);
    const auto acknowledged =
        acknowledged_extents(*model.vault(), model.series, *state->unfinished(),
                             VolumeLayout::of_one(model.source, model.contents().size()));
    ASSERT_TRUE(acknowledged);
    std::uint64_t expected = 0;
    for (int i = 0; i < 20; ++i)
        expected += model.block(blocks[i]).size();
    EXPECT_EQ(total_bytes(*acknowledged), expected);
    const auto writer = model.begin(RunMode::kExtents, true);
    ASSERT_TRUE(writer) << writer.error().text();
    ASSERT_TRUE(model.put(**writer, blocks[3]));
    for (int i = 20; i < 30; ++i)
        ASSERT_TRUE(model.put(**writer, blocks[i]));
    const auto point = model.seal(**writer);
    ASSERT_TRUE(point) << point.error().text();
    EXPECT_EQ(model.check_all(), 2U);
}

TEST_F(RunWriterTest, ALateWriterCannotPublish) {
    model.change_some(20);
    ASSERT_TRUE(model.full());
    const auto nothing = std::make_shared<ObjectHold>();  // a lock that was lost
    const auto blocks = model.change_some(10);
    auto late = model.begin(RunMode::kExtents, false, nothing);
    ASSERT_TRUE(late);
    ASSERT_TRUE(model.put(**late, blocks[0]));
    auto next = model.begin(RunMode::kExtents, false, nothing);
    ASSERT_TRUE(next) << next.error().text();
    for (const std::uint64_t each : blocks)
        ASSERT_TRUE(model.put(**next, each));
    const Uuid good = model.expected_point();
    ASSERT_TRUE(model.seal(**next));
    const auto sealed =
        (*late)->seal({.state = model.record(TargetState::kSealed, RunMode::kExtents),
                       .mode = RunMode::kExtents,
                       .digest = "00"});
    EXPECT_EQ(error_of(sealed).code, Code::kBusy);
    EXPECT_EQ(model.check_all(), 2U);
    EXPECT_TRUE(model.read(good));
}

// What a run brings is what differs from the point that it was planned upon. Its host slept, lost
// the lock, and another one has sealed a point.
TEST_F(RunWriterTest, WhatWasPlannedUponAnotherPointDoesNotBegin) {
    model.change_some(20);
    ASSERT_TRUE(model.full());
    const SeriesLog log(model.vault(), model.series);
    const auto seen = RunWriter::Footing::of(*log.read_newest());
    const auto begin = [&] {
        return RunWriter::begin(model.vault(), model.series, *log.hold(),
                                {.state = model.record(TargetState::kApplying, RunMode::kExtents),
                                 .block_bytes = kBlock,
                                 .volume_name = model.series,
                                 .footing = seen});
    };
    ASSERT_TRUE(model.run(RunMode::kExtents, model.change_some(3)));
    EXPECT_EQ(error_of(begin()).code, Code::kBusy);
    // The same where that one is gone again.
    const auto now = log.read();
    ASSERT_TRUE(Collector(model.vault(), model.series).delete_points({now->newest()->number}));
    EXPECT_EQ(error_of(begin()).code, Code::kBusy);
}

// The same where the run has begun, and what it stands on is deleted.
TEST_F(RunWriterTest, APointWhoseBaseWentIsNotSealed) {
    model.change_some(20);
    ASSERT_TRUE(model.full());
    ASSERT_TRUE(model.run(RunMode::kExtents, model.change_some(3)));
    const auto base = SeriesLog(model.vault(), model.series).read()->newest()->number;
    const auto blocks = model.change_some(1);
    auto late = model.begin(RunMode::kExtents, false, std::make_shared<ObjectHold>());
    ASSERT_TRUE(late);
    ASSERT_TRUE(model.put(**late, blocks[0]));
    ASSERT_TRUE(Collector(model.vault(), model.series).delete_points({base}));
    EXPECT_EQ(error_of(model.seal(**late)).code, Code::kBusy);
    EXPECT_EQ(model.check_all(), 1U);
}

// It was given back, too: its indexes would be merged with the run's. That is no damage, and a
// check of the vault would find none: the name was lost, and the run is to be made again.
TEST_F(RunWriterTest, ABaseThatWasGivenBackIsNotCalledDamaged) {
    model.change_some(20);
    ASSERT_TRUE(model.full());
    ASSERT_TRUE(model.run(RunMode::kExtents, model.change_some(3)));
    const auto base = SeriesLog(model.vault(), model.series).read()->newest()->number;
    for (const bool taken : {false, true}) {
        auto late = model.begin(RunMode::kExtents, false, std::make_shared<ObjectHold>());
        ASSERT_TRUE(late);
        for (std::uint64_t each = 0; each < model.block_count(); ++each)
            ASSERT_TRUE(model.put(**late, each));
        const TargetRecord record = model.record(TargetState::kSealed, RunMode::kExtents);
        if (taken) {
            model.change_some(3);
            ASSERT_TRUE(model.full());
        }
        Collector collector(model.vault(), model.series);
        const auto now = SeriesLog(model.vault(), model.series).read();
        ASSERT_TRUE(collector.delete_points({taken ? now->counting.front() : base}));
        ASSERT_TRUE(collector.collect());
        const auto sealed =
            (*late)->seal({.state = record, .mode = RunMode::kExtents, .digest = "00"});
        EXPECT_EQ(error_of(sealed).code, Code::kBusy);
        const std::string says = taken ? "was taken by another run" : "was deleted while";
        EXPECT_NE(error_of(sealed).context.find(says), std::string::npos)
            << error_of(sealed).text();
        EXPECT_EQ(model.check_all(), 1U);
    }
}

// Older points are deleted beside a run, again and again. The first delete is removed behind the
// second, and its number is free: a point that is put there counts for nobody. The run has its
// name all the time, and goes on to the next number.
TEST_F(RunWriterTest, DeletesBesideARunDoNotEndIt) {
    model.change_some(20);
    ASSERT_TRUE(model.full());
    for (int i = 0; i < 3; ++i)
        ASSERT_TRUE(model.run(RunMode::kExtents, model.change_some(3)));
    auto run = model.begin(RunMode::kExtents);
    ASSERT_TRUE(run);
    ASSERT_TRUE(model.put(**run, model.change_some(1)[0]));
    Collector collector(model.vault(), model.series);
    for (int i = 0; i < 2; ++i) {
        const auto now = SeriesLog(model.vault(), model.series).read();
        ASSERT_TRUE(collector.delete_points({now->counting.front()}));
        ASSERT_TRUE(collector.collect());
    }
    const auto sealed = model.seal(**run);
    EXPECT_TRUE(sealed) << sealed.error().text();
    EXPECT_EQ(model.check_all(), 3U);
}

TEST_F(RunWriterTest, TwoWritersCannotHoldOneName) {
    const auto first = model.begin(RunMode::kFull);
    ASSERT_TRUE(first);
    EXPECT_EQ(error_of(model.begin(RunMode::kFull)).code, Code::kBusy);
}

// More than an entry has room to number.
TEST_F(RunWriterTest, MoreBlocksThanCanBeNumberedAreRefused) {
    TargetRecord state = model.record(TargetState::kApplying, RunMode::kFull);
    state.volume_bytes = vault_format::kBlockCountMax * kBlock;
    const auto begin = [&](std::uint32_t block_bytes) {
        auto held = SeriesLog(model.vault(), model.series).hold();
        EXPECT_TRUE(held);
        return RunWriter::begin(
            model.vault(), model.series, std::move(*held),
            {.state = state, .block_bytes = block_bytes, .volume_name = "disk0"});
    };
    const auto refused = begin(kBlock);
    EXPECT_EQ(error_of(refused).code, Code::kRefused);
    EXPECT_TRUE(error_of(refused).context.contains("--block"));
    EXPECT_TRUE(begin(2 * kBlock));
}

TEST_F(RunWriterTest, OtherBlockSizeIsRefused) {
    ASSERT_TRUE(model.full());
    auto held = SeriesLog(model.vault(), model.series).hold();
    ASSERT_TRUE(held);
    const auto writer =
        RunWriter::begin(model.vault(), model.series, std::move(*held),
                         {.state = model.record(TargetState::kApplying, RunMode::kExtents),
                          .block_bytes = 2 * kBlock,
                          .volume_name = "disk0"});
    EXPECT_EQ(error_of(writer).code, Code::kRefused);
}

}  // namespace towline::testing
