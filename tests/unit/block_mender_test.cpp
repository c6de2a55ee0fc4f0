// SPDX-License-Identifier: Apache-2.0
// A block that is bad is again what it was, when a newer run has brought the same; and nothing else
// is ever put in its place.

#include "userspace/vault/block_mender.hpp"

#include <algorithm>
#include <fstream>

#include "simulated_holds.hpp"
#include "userspace/vault/scrub.hpp"
#include "userspace/vault/segment_pins.hpp"
#include "userspace/vault/segment_writer.hpp"
#include "userspace/vault/simulated_file_layer.hpp"
#include "userspace/vault/twin_finder.hpp"
#include "vault_fixture.hpp"

namespace towline::testing {
namespace {

constexpr std::uint64_t kBlocks = 120;

struct BlockMenderTest : ::testing::TestWithParam<bool> {
    TemporaryFolder folder;
    std::shared_ptr<Vault> vault = new_vault(
        folder.path() + "/vault", with_dedup(GetParam() ? encrypted_config() : VaultConfig{}));
    VaultModel model{vault, kBlocks* kBlock};

    void SetUp() override {
        for (std::uint64_t i = 0; i < kBlocks; ++i) {
            // Half of it does not compress: several chunks of an encrypted vault.
            const std::uint64_t values = i % 2 == 0 ? 7 : 256;
            std::ranges::generate(
                model.block(i), [&] { return static_cast<std::byte>(model.random()() % values); });
            numbers.push_back(i);
        }
        ASSERT_TRUE(model.full());
    }
    // Some of what is stored now: behind the head, so that the table is still read.
    void damage() const {
        const auto stored = vault->store().list("segment/%pool/");
        ASSERT_TRUE(stored);
        for (const ObjectInfo& each : *stored) {
            const std::string path =
                folder.path() + "/vault/" + vault->stored_name(each.name).value();
            std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
            const std::string noise(each.bytes / 3, '\x5a');
            file.seekp(static_cast<std::streamoff>(each.bytes / 4));
            file.write(noise.data(), static_cast<std::streamsize>(noise.size()));
            ASSERT_TRUE(file);
        }
    }
    ScrubReport scrub() const {
        auto report = Scrub(vault, {}).run();
        EXPECT_TRUE(report) << report.error().text();
        return report ? *report : ScrubReport{};
    }
    MendReport mend() const {
        const auto report = mend_blocks(vault, scrub().bad_blocks);
        EXPECT_TRUE(report) << report.error().text();
        return report ? *report : MendReport{};
    }

    SegmentWriter begin_segment(std::uint64_t volume_bytes) const {
        return SegmentWriter::begin(*vault,
                                    {vault_format::ObjectKind::kSegment, vault->segment_series({}),
                                     Uuid::random(), 1, 1},
                                    {.volume_bytes = volume_bytes,
                                     .block_bytes = kBlock,
                                     .identities = true,
                                     .entries = {},
                                     .proofs = {}})
            .value();
    }
    void bring_again(int level) {
        const auto writer = model.begin(RunMode::kFull);
        ASSERT_TRUE(writer);
        for (const std::uint64_t each : numbers) {
            const auto kind = each % 3 == 0 ? BlockKind::kDeflate : BlockKind::kZstd;
            ASSERT_TRUE(model.put(**writer, each, kind, level));
        }
        ASSERT_TRUE(model.seal(**writer));
    }

    std::vector<std::uint64_t> numbers;
};

INSTANTIATE_TEST_SUITE_P(PlainAndEncrypted, BlockMenderTest, ::testing::Bool());

}  // namespace

TEST_P(BlockMenderTest, WhatANewerRunBroughtTakesThePlaceOfWhatIsBad) {
    damage();
    ASSERT_FALSE(scrub().sound());
    ASSERT_TRUE(model.full());
    const MendReport report = mend();
    EXPECT_GT(report.mended_blocks, kBlocks / 4);
    EXPECT_EQ(report.left_blocks, 0U);
    EXPECT_TRUE(scrub().sound());
    // The point that was hit reads as it did.
    EXPECT_EQ(model.check_all(), 2U);
    ASSERT_TRUE(Collector(vault, model.series, {.dead_share_max = 0}).collect());
    EXPECT_TRUE(scrub().sound());
    EXPECT_EQ(model.check_all(), 2U);
}

TEST_P(BlockMenderTest, WhatHasNoEqualStaysBad) {
    damage();
    const std::size_t bad = scrub().bad_blocks.begin()->second.size();
    for (std::uint64_t i = 0; i < kBlocks; ++i)
        model.block(i)[7] ^= std::byte{1};
    ASSERT_TRUE(model.full());
    const MendReport report = mend();
    EXPECT_EQ(report.mended_blocks, 0U);
    EXPECT_EQ(report.left_blocks, bad);
    EXPECT_EQ(scrub().bad_blocks.begin()->second.size(), bad);
}

// Of some a good one is there: the others are no better, and no worse. What cannot be read at all,
// as in an encrypted vault, cannot be copied either: there the segment is left until all of it is
// found.
TEST_P(BlockMenderTest, WhatCanBeIsMendedAlone) {
    damage();
    const std::size_t bad = scrub().bad_blocks.begin()->second.size();
    for (std::uint64_t i = 0; i < kBlocks; i += 2)
        model.block(i)[7] ^= std::byte{1};
    ASSERT_TRUE(model.full());
    const MendReport report = mend();
    EXPECT_EQ(report.mended_blocks > 0, !GetParam());
    EXPECT_GT(report.left_blocks, 0U);
    EXPECT_EQ(report.mended_blocks + report.left_blocks, bad);
    EXPECT_EQ(scrub().bad_blocks.begin()->second.size(), report.left_blocks);
}

// An equal length and equal CRCs are not enough: it has to be the block.
TEST_P(BlockMenderTest, ATableThatLiesHealsNothing) {
    damage();
    const auto bad = scrub().bad_blocks;
    auto segment = begin_segment(kBlock);
    for (std::uint64_t i = 0; i < kBlocks; ++i) {
        ASSERT_TRUE(segment.append({.identity = TwinFinder(vault).identity_of(model.block(i))},
                                   of_equal_crc(model.block(i))));
    }
    ASSERT_TRUE(segment.commit());
    const auto report = mend_blocks(vault, bad);
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_EQ(report->mended_blocks, 0U);
}

// Nor is what the identity says put where the check says otherwise: one of them is wrong.
TEST_P(BlockMenderTest, WhereIdentityAndCheckDisagreeNothingIsPut) {
    auto segment = begin_segment(kBlock);
    ASSERT_TRUE(
        segment.append({.check = 1, .identity = TwinFinder(vault).identity_of(model.block(0))},
                       of_equal_crc(model.block(0))));
    ASSERT_TRUE(segment.commit());
    const auto bad = scrub().bad_blocks;
    ASSERT_EQ(bad.size(), 1U);
    EXPECT_EQ(mend().left_blocks, 1U);
}

// The run that brings it again may compress otherwise.
TEST_P(BlockMenderTest, WhatComesBackRawIsPackedAgain) {
    damage();
    bring_again(kLevelNone);
    EXPECT_EQ(mend().left_blocks, 0U);
    EXPECT_TRUE(scrub().sound());
    EXPECT_EQ(model.check_all(), 2U);
}

TEST_P(BlockMenderTest, WhatComesBackDenserIsPackedAsItWas) {
    damage();
    bring_again(9);
    EXPECT_EQ(mend().left_blocks, 0U);
    EXPECT_TRUE(scrub().sound());
    EXPECT_EQ(model.check_all(), 2U);
}

// What it has acknowledged stands in the tables of its first generations alone.
TEST_P(BlockMenderTest, WhatAnUnfinishedRunHasPutIsLeftAlone) {
    {
        const auto writer = model.begin(RunMode::kFull);
        ASSERT_TRUE(writer);
        for (const std::uint64_t each : numbers) {
            std::ranges::generate(model.block(each),
                                  [&] { return static_cast<std::byte>(model.random()()); });
            ASSERT_TRUE(model.put(**writer, each));
        }
        ASSERT_TRUE((*writer)->flush());
    }
    damage();
    VaultModel other{vault, kBlocks * kBlock};
    other.series = "disk1";
    for (const std::uint64_t each : numbers)
        other.take(model, each, each);
    ASSERT_TRUE(other.full());
    const MendReport report = mend();
    EXPECT_EQ(report.mended_blocks, 0U);
    EXPECT_GT(report.busy_blocks, kBlocks / 4);
}

TEST_P(BlockMenderTest, ARunThatFoundSomethingThereIsLeftAlone) {
    const auto bad_before = scrub().bad_blocks;
    ASSERT_TRUE(bad_before.empty());
    damage();
    ASSERT_TRUE(model.full());
    const auto bad = scrub().bad_blocks;
    const auto pin =
        SegmentPins::hold(*vault, SegmentPins::shard_of(bad.begin()->first), HoldKind::kShared);
    ASSERT_TRUE(pin);
    const auto report = mend_blocks(vault, bad);
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_EQ(report->mended_blocks, 0U);
    EXPECT_EQ(report->busy_blocks, bad.begin()->second.size());
}

// A mend that dies at any of its calls, and at every other one the power with it, has cost nothing:
// the point that is sound stays so, and a second mend does what was left.
static void die_at_any_call(const VaultConfig& config) {
    bool done = false;
    std::uint64_t die_at = 1;
    for (; !done; ++die_at) {
        SCOPED_TRACE("dies at call " + std::to_string(die_at));
        SimulatedFolder files{die_at};
        SimulatedHolds holds;
        const auto store = std::make_shared<FolderStore>(
            std::make_unique<SimulatedFileLayer>(files),
            [&](const std::string& name, HoldKind kind) { return holds.take(name, kind); });
        ASSERT_TRUE(Vault::init(*store, config));
        VaultModel model{Vault::open(store).value(), 12 * kBlock};
        std::vector<std::uint64_t> all;
        for (std::uint64_t i = 0; i < 12; ++i) {
            std::ranges::generate(model.block(i),
                                  [&] { return static_cast<std::byte>(model.random()() % 7); });
            all.push_back(i);
        }
        ASSERT_TRUE(model.run(RunMode::kFull, all));
        for (const std::string& each : files.names())
            if (each.starts_with("segment/"))
                std::ranges::fill(std::span(files.contents(each)).subspan(300, 5000), std::byte{9});
        ASSERT_TRUE(model.run(RunMode::kFull, all));
        const auto before = Scrub(model.vault(), {.threads = 1}).run();
        ASSERT_FALSE(before->bad_blocks.empty());

        files.arm({.die_at = die_at});
        done = mend_blocks(model.vault(), before->bad_blocks).has_value();
        files.arm({});
        if (die_at % 2 == 0) files.power_loss();
        model.reopen(Vault::open(store).value());
        const auto newest = model.read(model.expected_point());
        ASSERT_TRUE(newest) << newest.error().text();
        EXPECT_TRUE(*newest == model.contents());
        const auto after = Scrub(model.vault(), {.threads = 1}).run();
        ASSERT_TRUE(after) << after.error().text();
        EXPECT_EQ(mend_blocks(model.vault(), after->bad_blocks)->left_blocks, 0U);
        EXPECT_TRUE(Scrub(model.vault(), {.threads = 1}).run()->sound());
        ASSERT_TRUE(Collector(model.vault(), model.series).collect());
        EXPECT_TRUE(Scrub(model.vault(), {.threads = 1}).run()->sound());
        EXPECT_EQ(model.check_all(), 2U);
        if (::testing::Test::HasFailure()) break;
    }
    EXPECT_GT(die_at, 6U);
}

TEST(BlockMender, ItMayDieAtAnyCall) {
    die_at_any_call(with_dedup());
}

TEST(BlockMender, ItMayDieAtAnyCallWhereBlocksHaveNoIdentity) {
    die_at_any_call({});
}

}  // namespace towline::testing
