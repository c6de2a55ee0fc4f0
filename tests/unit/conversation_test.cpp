// SPDX-License-Identifier: Apache-2.0
// Whole runs of every kind, both sides real, world simulated. What a user would lose: a run that
// cannot be finished, and a replica that is not equal.

#include "tests/unit/conversation_fixture.hpp"

namespace towline {
namespace {

using namespace testing;
using Kind = RunRequest::Kind;

constexpr std::uint64_t kSeeds = 16;

TEST(Conversation, FullScanAndExtentsLeaveEqualVolumes) {
    for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
        Replication bench(seed);
        bench.fill_source(3, 40, 1);
        ASSERT_TRUE(bench.run(Kind::kFull));
        EXPECT_TRUE(bench.equal());
        EXPECT_EQ(bench.targets.facts.record.state, TargetState::kSealed);
        bench.fill_source(10, 2, 2);
        ASSERT_TRUE(bench.run(Kind::kScan));
        EXPECT_TRUE(bench.equal());
        EXPECT_EQ(bench.last.bytes_changed, 2 * kRunBlockBytes);
        bench.fill_source(60, 1, 3);
        bench.source_config.request.extents = {{60 * kRunBlockBytes, 10}};
        ASSERT_TRUE(bench.run(Kind::kExtents));
        EXPECT_TRUE(bench.equal());
    }
}

// Cut off at some byte, then resumed: what was acknowledged is compared, the rest is sent.
TEST(Conversation, ResumedRunGoesOn) {
    int resumed = 0;
    for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
        Replication bench(seed);
        bench.fill_source(0, 60, 1);
        ConnectionPlan plan;
        plan.first_to_second.close_at = 500 + seed * 15000;
        const auto cut = bench.attempt(Kind::kFull, plan);
        ASSERT_EQ(cut->run(), RunEnd::kDone);
        EXPECT_FALSE(cut->succeeded());
        bench.source_config.request.run.resume = true;
        bench.source_config.request.run.overwrite = true;
        ASSERT_TRUE(bench.run(Kind::kFull)) << "seed " << seed;
        EXPECT_TRUE(bench.equal());
        resumed += bench.last.resumed ? 1 : 0;
    }
    EXPECT_GT(resumed, static_cast<int>(kSeeds) / 2);
}

// A journal may have many ranges, and the link be slower than the target reads them.
TEST(Conversation, AResumedRunsRangesWaitWithinABound) {
    constexpr std::size_t kQueuedMax = (1 << 20) + wire::kHeadBytesMax;
    Replication bench(1);
    bench.fill_source(0, 60, 1);
    ConnectionPlan cut_short;
    cut_short.first_to_second.close_at = 100'000;
    EXPECT_EQ(bench.attempt(Kind::kFull, cut_short)->run(), RunEnd::kDone);
    for (std::uint64_t at = 0; at < kRunVolumeBytes; at += 2)
        bench.targets.entries.push_back({at, 1});
    bench.source_config.request.run.resume = bench.source_config.request.run.overwrite = true;
    ConnectionPlan slow;
    slow.second_to_first.buffer_bytes = 16 << 10;
    const auto run = bench.attempt(Kind::kAuto, slow);
    std::size_t queued_max = 0;
    const auto ended = [&] {
        queued_max = std::max(queued_max, run->target->queued_bytes());
        return run->source->finished() && run->target->finished();
    };
    EXPECT_EQ(bench.world.run(ended, kLongEnough), RunEnd::kDone);
    EXPECT_TRUE(run->succeeded());
    EXPECT_TRUE(run->source->report().resumed);
    EXPECT_TRUE(bench.equal());
    EXPECT_LE(queued_max, kQueuedMax);
    EXPECT_GT(queued_max, kQueuedMax / 2);
}

// A ping of either side may cross Begin or Begun on the way.
TEST(Conversation, PingsThatCrossTheBeginningBelongToTheRun) {
    for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
        Replication bench(seed);
        bench.fill_source(0, 4, 1);
        bench.source_config.ping_interval = 1ms;
        bench.target_config.limits.ping_interval = 1ms;
        ConnectionPlan plan;
        plan.first_to_second.latency_min = plan.second_to_first.latency_min = 250ms;
        plan.first_to_second.latency_max = plan.second_to_first.latency_max = 400ms;
        const auto run = bench.attempt(Kind::kScan, plan);
        ASSERT_EQ(run->run(), RunEnd::kDone);
        EXPECT_TRUE(run->succeeded()) << run->source->error()->text();
    }
}

// Holes become Zero messages, many at once behind blocks that wait to be sent.
TEST(Conversation, ZerosBetweenBlocksArriveWhole) {
    for (std::uint64_t seed = 0; seed < 4 * kSeeds; ++seed) {
        Replication bench(seed);
        for (std::uint64_t block = 0; block < 64; block += 2)
            bench.fill_source(block, 1, static_cast<int>(block));
        bench.source_config.data.clear();
        for (std::uint64_t block = 0; block < 64; block += 2)
            bench.source_config.data.push_back({block * kRunBlockBytes, kRunBlockBytes});
        ASSERT_TRUE(bench.run(Kind::kFull)) << "seed " << seed;
        EXPECT_TRUE(bench.equal());
    }
}

TEST(Conversation, VerifyReadsBackAndSaysSo) {
    Replication bench(1);
    bench.fill_source(0, 30, 1);
    bench.source_config.request.verify = true;
    ASSERT_TRUE(bench.run(Kind::kFull));
    EXPECT_TRUE(bench.last.reread);
}

// An older target reads back what its last session brought, and calls that reread too.
TEST(Conversation, OfAResumedRunOnlyWhoRereadsAllIsBelieved) {
    for (const bool all : {true, false}) {
        Replication bench(1);
        bench.fill_source(0, 60, 1);
        bench.source_config.request.verify = true;
        if (!all) bench.target_config.limits.capabilities &= ~wire::kCapRereadsAll;
        ConnectionPlan cut_short;
        cut_short.first_to_second.close_at = 100'000;
        EXPECT_EQ(bench.attempt(Kind::kFull, cut_short)->run(), RunEnd::kDone);
        bench.source_config.request.run.resume = bench.source_config.request.run.overwrite = true;
        ASSERT_TRUE(bench.run(Kind::kFull));
        ASSERT_TRUE(bench.last.resumed);
        EXPECT_EQ(bench.last.reread, all);
        // Of a run that was not cut off there is no more than that.
        bench.source_config.request.run.resume = false;
        ASSERT_TRUE(bench.run(Kind::kFull));
        EXPECT_TRUE(bench.last.reread);
    }
}

TEST(Conversation, DryRunChangesNothing) {
    Replication bench(1);
    bench.fill_source(0, 30, 1);
    ASSERT_TRUE(bench.run(Kind::kFull));
    const auto before = bench.target_disk.contents();
    const TargetRecord record = bench.targets.facts.record;
    const auto memories = bench.sources.memories;
    bench.fill_source(5, 5, 9);
    bench.source_config.request.dry_run = true;
    const auto dry = bench.attempt(Kind::kScan);
    ASSERT_EQ(dry->run(), RunEnd::kDone);
    EXPECT_FALSE(dry->source->error());
    EXPECT_EQ(dry->source->report().bytes_changed, 5 * kRunBlockBytes);
    EXPECT_EQ(bench.target_disk.contents(), before);
    EXPECT_EQ(bench.targets.facts.record, record);
    EXPECT_EQ(bench.sources.memories, memories);
}

// Whatever level is asked for.
TEST(Conversation, BlocksComeInAKindThatTheTargetDecodes) {
    const std::pair<std::uint64_t, std::string_view> targets[] = {
        {0, "none"}, {wire::kCapDeflate, "deflate"}, {wire::kCapZstd, "zstd"}};
    for (const auto& [capabilities, codec] : targets) {
        for (const int level : {1, 5, 9}) {
            Replication bench(1);
            bench.fill_source(0, 30, 1);
            bench.source_config.compression.level = level;
            bench.target_config.limits.capabilities = capabilities;
            ASSERT_TRUE(bench.run(Kind::kFull));
            EXPECT_TRUE(bench.equal());
            EXPECT_EQ(bench.last.codec, codec) << level;
        }
    }
}

// No byte of the conversation may be damaged and the run still succeed with another content.
TEST(Conversation, DamageOnTheWireNeverSeals) {
    for (std::uint64_t at = 0; at < 40000; at += 61) {
        Replication bench(at);
        bench.fill_source(0, 9, 1);
        ConnectionPlan plan;
        plan.first_to_second.corrupt_at = {at};
        const auto run = bench.attempt(Kind::kFull, plan);
        ASSERT_EQ(run->run(), RunEnd::kDone) << at;
        const auto& stream = run->connection.outgoing(ConnectionSide::kFirst);
        EXPECT_EQ(run->succeeded(), stream.received_bytes() <= at) << at;
        EXPECT_TRUE(!run->succeeded() || bench.equal()) << at;
    }
}

}  // namespace
}  // namespace towline
