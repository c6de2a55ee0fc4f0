// SPDX-License-Identifier: Apache-2.0
// Equal blocks are kept once, and whoever shows one keeps it: whatever the others delete, whatever
// is damaged, and whoever is at work meanwhile.

#include <algorithm>
#include <fstream>

#include "io/engine_simulated.hpp"
#include "io/simulated_world.hpp"
#include "simulated_holds.hpp"
#include "userspace/vault/collector.hpp"
#include "userspace/vault/scrub.hpp"
#include "userspace/vault/segment_writer.hpp"
#include "userspace/vault/simulated_file_layer.hpp"
#include "userspace/vault/twin_finder.hpp"
#include "userspace/vault/vault_sink.hpp"
#include "vault_fixture.hpp"

namespace towline::testing {
namespace {

constexpr std::uint64_t kBlocks = 40;

struct VaultDedupTest : ::testing::TestWithParam<bool> {
    TemporaryFolder folder;
    std::shared_ptr<Vault> vault = new_vault(
        folder.path() + "/vault", with_dedup(GetParam() ? encrypted_config() : VaultConfig{}));
    VaultModel first{vault, kBlocks* kBlock + 77};
    VaultModel second{vault, kBlocks* kBlock + 77, 2};

    void SetUp() override {
        second.series = "disk1";
        second.source = Uuid::parse("99999999-2222-3333-4444-555555555555").value();
        for (std::uint64_t i = 0; i < first.block_count(); ++i)
            first.change(i);
        // The same blocks, the other way round.
        for (std::uint64_t i = 0; i < kBlocks; ++i)
            second.take(first, i, kBlocks - 1 - i);
    }
    std::vector<ObjectInfo> objects(const std::string& of) const {
        return vault->store().list(of).value();
    }
    std::uint64_t pool_bytes() const {
        std::uint64_t bytes = 0;
        for (const ObjectInfo& each : objects("segment/%pool/"))
            bytes += each.bytes;
        return bytes;
    }
    static void delete_all(const VaultModel& model) {
        const auto state = SeriesLog(model.vault(), model.series).read();
        ASSERT_TRUE(Collector(model.vault(), model.series).delete_points(state->counting));
    }
    static Result<CollectReport> collect(const VaultModel& model) {
        return Collector(model.vault(), model.series, {.dead_share_max = 0}).collect();
    }
    void expect_sound(bool no_garbage = true) const {
        const auto report = Scrub(vault, {}).run();
        ASSERT_TRUE(report) << report.error().text();
        for (const auto& each : report->findings)
            ADD_FAILURE() << each.object << ": " << each.what;
        if (no_garbage) {
            EXPECT_EQ(report->garbage_bytes, 0U);
        }
    }
};

INSTANTIATE_TEST_SUITE_P(PlainAndEncrypted, VaultDedupTest, ::testing::Bool());

}  // namespace

TEST_P(VaultDedupTest, WhatAnotherVolumeHasIsNotStoredAgain) {
    ASSERT_TRUE(first.full());
    const std::uint64_t before = pool_bytes();
    const auto point = second.full();
    ASSERT_TRUE(point) << point.error().text();
    EXPECT_GT(point->volumes[0].shared_bytes, 20U * 100);
    // Zeros and the tail, which is no whole block, are its own; and a table.
    EXPECT_LT(pool_bytes() - before, 3000U);
    EXPECT_EQ(first.check_all(), 1U);
    EXPECT_EQ(second.check_all(), 1U);
    expect_sound(false);
}

TEST_P(VaultDedupTest, WhatTheOtherDeletesStaysAsFarAsItIsShown) {
    ASSERT_TRUE(first.full());
    ASSERT_TRUE(second.full());
    delete_all(first);
    ASSERT_TRUE(collect(first));
    EXPECT_EQ(first.check_all(), 0U);
    EXPECT_EQ(second.check_all(), 1U);
    expect_sound();
    // And again, now that the blocks lie in a later generation.
    for (int i = 0; i < 5; ++i) {
        const auto changed = first.change_some(10);
        ASSERT_TRUE(i == 0 ? first.full() : first.run(RunMode::kExtents, changed));
        ASSERT_TRUE(second.run(RunMode::kExtents, second.change_some(10)));
        const auto state = SeriesLog(vault, second.series).read();
        ASSERT_TRUE(Collector(vault, second.series).delete_points({state->counting.front()}));
        ASSERT_TRUE(collect(first));
        EXPECT_EQ(first.check_all(), static_cast<std::size_t>(i + 1));
        EXPECT_EQ(second.check_all(), 1U);
        expect_sound();
    }
    delete_all(first);
    delete_all(second);
    ASSERT_TRUE(collect(second));
    EXPECT_EQ(pool_bytes(), 0U);
}

TEST_P(VaultDedupTest, ARunKeepsWhatItFoundUntilItsPointSaysSo) {
    ASSERT_TRUE(first.full());
    const auto writer = second.begin(RunMode::kFull);
    ASSERT_TRUE(writer);
    for (std::uint64_t i = 0; i < kBlocks / 2; ++i)
        ASSERT_TRUE(second.put(**writer, i));
    delete_all(first);
    const auto collected = collect(first);
    ASSERT_TRUE(collected) << collected.error().text();
    EXPECT_GT(collected->segments_pinned, 0U);
    EXPECT_EQ(collected->segments_removed, 0U);
    for (std::uint64_t i = kBlocks / 2; i < second.block_count(); ++i)
        ASSERT_TRUE(second.put(**writer, i));
    ASSERT_TRUE(second.seal(**writer));
    // The writer is still there, and has published: nobody has to wait for it.
    const auto again = collect(first);
    ASSERT_TRUE(again) << again.error().text();
    EXPECT_EQ(again->segments_pinned, 0U);
    EXPECT_EQ(second.check_all(), 1U);
    expect_sound(false);
}

// What it has put itself no point shows yet, and nobody but its log says whose it is.
TEST_P(VaultDedupTest, ARunKeepsWhatItPutWhileAnotherNameIsPruned) {
    ASSERT_TRUE(first.full());
    for (std::uint64_t i = 0; i < kBlocks; ++i)
        second.change(i);
    const auto writer = second.begin(RunMode::kFull);
    ASSERT_TRUE(writer);
    for (std::uint64_t i = 0; i < second.block_count(); ++i)
        ASSERT_TRUE(second.put(**writer, i));
    ASSERT_TRUE((*writer)->flush());
    const auto collected = collect(first);
    ASSERT_TRUE(collected) << collected.error().text();
    EXPECT_EQ(collected->segments_removed, 0U);
    ASSERT_TRUE(second.seal(**writer));
    EXPECT_EQ(second.check_all(), 1U);
    expect_sound();
}

TEST_P(VaultDedupTest, BesideACollectorARunFindsNothing) {
    ASSERT_TRUE(first.full());
    const std::uint64_t before = pool_bytes();
    {
        std::vector<std::unique_ptr<ObjectHold>> collector;
        collector.reserve(SegmentPins::kShards);
        for (std::size_t shard = 0; shard < SegmentPins::kShards; ++shard)
            collector.push_back(SegmentPins::hold(*vault, shard, HoldKind::kExclusive).value());
        const auto point = second.full();
        ASSERT_TRUE(point) << point.error().text();
        EXPECT_EQ(point->volumes[0].shared_bytes, 0U);
    }
    EXPECT_GT(pool_bytes() - before, before / 2);
    delete_all(first);
    ASSERT_TRUE(collect(first));
    EXPECT_EQ(second.check_all(), 1U);
    expect_sound();
}

TEST_P(VaultDedupTest, ARunThatIsCutOffGetsAgainWhatItHadFound) {
    ASSERT_TRUE(first.full());
    {
        const auto writer = second.begin(RunMode::kFull);
        ASSERT_TRUE(writer);
        for (std::uint64_t i = 0; i < second.block_count(); ++i)
            ASSERT_TRUE(second.put(**writer, i));
        ASSERT_TRUE((*writer)->flush());
    }
    // It has nothing of the other's, and keeps nothing of it.
    delete_all(first);
    ASSERT_TRUE(collect(first));
    const auto state = SeriesLog(vault, second.series).read();
    const auto layout = VolumeLayout::of_one(second.source, second.contents().size());
    const auto acknowledged =
        acknowledged_extents(*vault, second.series, *state->unfinished(), layout);
    ASSERT_TRUE(acknowledged) << acknowledged.error().text();
    std::set<std::uint64_t> has;
    for (const Extent& each : *acknowledged)
        for (std::uint64_t at = each.offset_bytes; at < each.end_bytes(); at += kBlock)
            has.insert(at / kBlock);
    EXPECT_LT(has.size(), kBlocks / 2);
    EXPECT_TRUE(has.contains(kBlocks));  // the tail is nobody's twin: that it has
    {
        const auto writer = second.begin(RunMode::kFull, true);
        ASSERT_TRUE(writer) << writer.error().text();
        for (std::uint64_t i = 0; i < second.block_count(); ++i) {
            if (has.contains(i)) continue;
            ASSERT_TRUE(second.put(**writer, i));
        }
        ASSERT_TRUE(second.seal(**writer));
    }
    EXPECT_EQ(second.check_all(), 1U);
    ASSERT_TRUE(collect(second));
    EXPECT_EQ(second.check_all(), 1U);
    expect_sound();
}

TEST_P(VaultDedupTest, ADamagedBlockIsNobodysTwin) {
    ASSERT_TRUE(first.full());
    for (const ObjectInfo& each : objects("segment/%pool/")) {
        const std::string path = folder.path() + "/vault/" + vault->stored_name(each.name).value();
        std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
        // Behind the head, so that its table is still read: all of its blocks.
        std::string noise(each.bytes * 3 / 5, '\x5a');
        file.seekp(200);
        file.write(noise.data(), static_cast<std::streamsize>(noise.size()));
        ASSERT_TRUE(file);
    }
    ASSERT_TRUE(second.full());
    EXPECT_EQ(second.check_all(), 1U);
    const auto report = Scrub(vault, {}).run();
    ASSERT_TRUE(report);
    ASSERT_FALSE(report->sound());
    for (const auto& finding : report->findings)
        for (const auto& hit : finding.hits)
            EXPECT_TRUE(hit.name.starts_with("disk0@")) << hit.name;
}

// A scrub says of every volume what a bad block costs it.
TEST_P(VaultDedupTest, ALostSegmentIsNamedToAllThatShowIt) {
    ASSERT_TRUE(first.full());
    ASSERT_TRUE(second.full());
    const auto stored = objects("segment/%pool/");
    const auto largest = std::ranges::max_element(stored, {}, &ObjectInfo::bytes);
    const std::vector<std::string> lost{largest->name};
    ASSERT_TRUE(vault->store().remove(lost));
    const auto report = Scrub(vault, {}).run();
    ASSERT_TRUE(report);
    std::set<std::string> hit;
    for (const auto& finding : report->findings)
        for (const auto& each : finding.hits)
            hit.insert(each.name.substr(0, 5));
    EXPECT_EQ(hit, (std::set<std::string>{"disk0", "disk1"}));
}

TEST_P(VaultDedupTest, OnlyTheSameBytesAreATwin) {
    ASSERT_TRUE(first.full());
    TwinFinder finder(vault);
    std::uint64_t found = 0;
    for (std::uint64_t i = 0; i < kBlocks; ++i) {
        const ByteSpan plain = first.block(i);
        const BlockIdentity identity = finder.identity_of(plain);
        if (!finder.find(identity, plain)) continue;
        ++found;
        Bytes other(plain.begin(), plain.end());
        other[i] ^= std::byte{1};
        EXPECT_FALSE(finder.find(finder.identity_of(other), other));
        // As if the hash had failed us, or the vault's tables.
        EXPECT_FALSE(finder.find(identity, other));
        EXPECT_NE(finder.identity_of(plain.first(kBlock / 2)), identity);
        // As if two blocks had one print, or were alike but for the last bit of their identities.
        for (const std::size_t at : {std::size_t{8}, std::size_t{31}}) {
            BlockIdentity near = identity;
            near[at] ^= std::byte{1};
            EXPECT_FALSE(finder.find(near, plain));
        }
    }
    EXPECT_GT(found, kBlocks / 2);
    // One that has no room for more finds some, and no wrong ones.
    TwinFinder small(vault, 8);
    std::uint64_t fewer = 0;
    for (std::uint64_t i = 0; i < kBlocks; ++i)
        fewer += small.find(small.identity_of(first.block(i)), first.block(i)) ? 1 : 0;
    EXPECT_EQ(fewer, 6U);
}

// A host that slept has lost its locks, and a collector took away what nobody showed.
TEST_P(VaultDedupTest, ARunThatLostItsPinsIsNotSealedUponWhatIsGone) {
    ASSERT_TRUE(first.full());
    const auto before = objects("segment/%pool/");
    auto writer = second.begin(RunMode::kFull);
    ASSERT_TRUE(writer);
    for (std::uint64_t i = 0; i < second.block_count(); ++i)
        ASSERT_TRUE(second.put(**writer, i));
    delete_all(first);
    std::vector<std::string> gone(before.size());
    std::ranges::transform(before, gone.begin(), &ObjectInfo::name);
    ASSERT_TRUE(vault->store().remove(gone));
    const auto point = second.seal(**writer);
    ASSERT_FALSE(point);
    EXPECT_EQ(point.error().code, Code::kBusy) << point.error().text();
    EXPECT_EQ(second.check_all(), 0U);
    writer->reset();
    ASSERT_TRUE(second.full());
    EXPECT_EQ(second.check_all(), 1U);
}

// The same while it reads back what it has brought. A check of the vault would find no damage: its
// user is not to look for bad disks.
TEST_P(VaultDedupTest, WhatIsReadBackOfARunThatLostItsPinsIsNotCalledDamaged) {
    ASSERT_TRUE(first.full());
    std::vector<std::string> gone;
    for (const ObjectInfo& each : objects("segment/%pool/"))
        gone.push_back(each.name);
    auto run = std::make_shared<VaultRun>();
    run->block_bytes = kBlock;
    run->writer = second.begin(RunMode::kFull).value();
    for (std::uint64_t i = 0; i < second.block_count(); ++i)
        ASSERT_TRUE(second.put(*run->writer, i));
    ASSERT_TRUE(run->writer->flush());

    SimulatedWorld world(1);
    SimulatedEngine engine(world, "target");
    SimulatedWorkQueue workers(world, engine, 2);
    BufferPool pool(1, kBlock);
    VaultSink sink(workers, run);
    ChangeMap wanted(second.contents().size(), kBlock);
    wanted.mark_all();
    const BlockHasher hasher(BlockHasher::Seed{});
    const auto read_back = [&] {
        std::optional<Status> end;
        const auto pass = sink.hash(
            HashKind::kWritten, pool, hasher, wanted, {}, [](const auto&) {},
            [&](Status status) { end = std::move(status); });
        pass->start();
        const auto over = [&] { return end && pass->idle(); };
        EXPECT_EQ(world.run(over, std::chrono::minutes(1)), RunEnd::kDone);
        return *end;
    };
    EXPECT_TRUE(read_back());
    delete_all(first);
    ASSERT_TRUE(vault->store().remove(gone));
    const Status missed = read_back();
    ASSERT_FALSE(missed);
    EXPECT_EQ(missed.error().code, Code::kBusy) << missed.error().text();
}

// Another generation of a segment may lack what was found.
TEST_P(VaultDedupTest, WhatWasFoundIsHeldInTheGenerationThatWasLookedInto) {
    ASSERT_TRUE(first.full());
    TwinFinder finder(vault);
    EXPECT_TRUE(finder.hold_again());
    ASSERT_TRUE(finder.find(finder.identity_of(first.block(1)), first.block(1)));
    EXPECT_TRUE(finder.hold_again());
    const ObjectInfo segment = objects("segment/%pool/").front();
    auto id = parse_object_name(vault_format::ObjectKind::kSegment, vault->segment_series({}),
                                segment.name);
    ASSERT_TRUE(id);
    ++id->generation;
    Bytes bytes(segment.bytes);
    ASSERT_TRUE(vault->store().get_range(segment.name, 0, bytes));
    ASSERT_TRUE(vault->store().put_if_absent(id->object_name(), bytes));
    const auto held = finder.hold_again();
    ASSERT_FALSE(held);
    EXPECT_EQ(held.error().code, Code::kBusy);
}

// Sound as far as its own CRC says, and yet not what its volume had: whoever brings the block again
// to have it healed must not be pointed to it.
TEST_P(VaultDedupTest, WhatDecompressesToSomethingElseIsNobodysTwin) {
    const Bytes good(kBlock, std::byte{'a'});
    const Bytes bad(kBlock, std::byte{'b'});
    const auto writer = Uuid::random();
    const TwinFinder hasher(vault);
    const auto put = [&](std::uint64_t serial, ByteSpan stored) {
        auto segment = SegmentWriter::begin(
            *vault,
            {vault_format::ObjectKind::kSegment, vault->segment_series({}), writer, serial, 1},
            {.volume_bytes = kBlock,
             .block_bytes = kBlock,
             .identities = true,
             .entries = {},
             .proofs = {}});
        ASSERT_TRUE(segment) << segment.error().text();
        ASSERT_TRUE(segment->append({.identity = hasher.identity_of(good)}, stored));
        ASSERT_TRUE(segment->commit());
    };
    put(1, bad);
    EXPECT_FALSE(TwinFinder(vault).find(hasher.identity_of(good), good));
    put(2, good);
    const auto twin = TwinFinder(vault).find(hasher.identity_of(good), good);
    ASSERT_TRUE(twin);
    EXPECT_EQ(twin->segment.serial, 2U);
}

// A source draws the id of its point: one that takes another's must not make the collector believe
// that it has seen that one.
TEST_P(VaultDedupTest, PointsOfOneIdAreTwoPoints) {
    for (std::uint64_t i = 0; i < 10; ++i)
        second.change(i);
    ASSERT_TRUE(first.full());
    second.next_point = first.expected_point();
    ASSERT_TRUE(second.full());
    ASSERT_TRUE(collect(first));
    EXPECT_EQ(first.check_all(), 1U);
    EXPECT_EQ(second.check_all(), 1U);
    expect_sound();
}

// Nobody can tell by an identity what a block of another vault is.
TEST_P(VaultDedupTest, AnotherVaultHasOtherIdentities) {
    const auto other = new_vault(folder.path() + "/other", with_dedup());
    EXPECT_NE(TwinFinder(vault).identity_of(first.block(1)),
              TwinFinder(other).identity_of(first.block(1)));
}

TEST_P(VaultDedupTest, AnIndexStaysSmall) {
    VaultModel large{vault, 3000 * kBlock, 5};
    std::vector<std::uint64_t> all;
    for (std::uint64_t i = 0; i < 3000; ++i) {
        std::ranges::generate(large.block(i),
                              [&] { return static_cast<std::byte>(large.random()() % 3); });
        all.push_back(i);
    }
    const auto point = large.run(RunMode::kFull, all);
    ASSERT_TRUE(point);
    std::uint64_t bytes = pool_bytes() - point->volumes[0].stored_bytes;
    for (const ObjectInfo& each : objects("index/disk0/"))
        bytes += each.bytes;
    EXPECT_LE(bytes, 3000U * 96);
}

// What is shown by a name whose log is not there for the moment is not known: nothing goes.
TEST_P(VaultDedupTest, NothingIsCollectedWhileALogIsMissing) {
    ASSERT_TRUE(first.full());
    ASSERT_TRUE(second.full());
    const std::filesystem::path entry =
        folder.path() + "/vault/" + vault->stored_name("log/disk1/0").value();
    const std::filesystem::path log = entry.parent_path();
    std::filesystem::rename(log, folder.path() + "/aside");
    delete_all(first);
    const auto collected = collect(first);
    ASSERT_FALSE(collected);
    EXPECT_EQ(collected.error().code, Code::kCorrupt);
    // Nor while it is there and empty.
    std::filesystem::create_directory(log);
    EXPECT_EQ(collect(first).error().code, Code::kCorrupt);
    std::filesystem::remove(log);
    std::filesystem::rename(folder.path() + "/aside", log);
    ASSERT_TRUE(collect(first));
    EXPECT_EQ(second.check_all(), 1U);
    expect_sound();
}

// Where a lock cannot be written a reader does without. A run cannot: what it finds could go.
TEST(VaultDedup, WithoutALockNothingIsFound) {
    class NoLock final : public ObjectHold {
      public:
        bool keeps_others_out() const override { return false; }
    };
    SimulatedFolder files{7};
    SimulatedHolds holds;
    const auto store = std::make_shared<FolderStore>(
        std::make_unique<SimulatedFileLayer>(files),
        [&](const std::string& name, HoldKind kind) -> Result<std::unique_ptr<ObjectHold>> {
            if (kind == HoldKind::kShared) return std::make_unique<NoLock>();
            return holds.take(name, kind);
        });
    ASSERT_TRUE(Vault::init(*store, with_dedup()));
    VaultModel model{Vault::open(store).value(), kBlocks * kBlock};
    for (std::uint64_t i = 0; i < kBlocks; ++i)
        model.change(i);
    ASSERT_TRUE(model.full());
    const auto again = model.full();
    ASSERT_TRUE(again) << again.error().text();
    EXPECT_EQ(again->volumes[0].shared_bytes, 0U);
    EXPECT_EQ(model.check_all(), 2U);
}

// A Towline that knows of no shared blocks would collect what others need.
TEST_P(VaultDedupTest, AnOlderTowlineRefusesTheVault) {
    std::ifstream file(folder.path() + "/vault/config/0000000000000001", std::ios::binary);
    char head[12] = {};
    file.read(head, sizeof head);
    EXPECT_EQ(head[10], 4);
    EXPECT_EQ(head[11], 0);
}

}  // namespace towline::testing
