// SPDX-License-Identifier: Apache-2.0
// Two volumes of one run: they become a point together, each is read by itself, and what is of
// neither is refused.

#include <algorithm>

#include "userspace/vault/collector.hpp"
#include "userspace/vault/run_writer.hpp"
#include "userspace/vault/scrub.hpp"
#include "vault_fixture.hpp"

namespace towline::testing {
namespace {

constexpr std::uint64_t kFirst = 30 * kBlock + 5;
constexpr std::uint64_t kSecond = 11 * kBlock + 77;

struct RunVolumesTest : ::testing::Test {
    TemporaryFolder folder;
    VaultModel model{new_vault(folder.path() + "/vault"), kFirst, 1, kSecond};
    std::uint64_t second = model.block_count() - 12;  // the second volume's first block

    std::vector<std::uint64_t> all() const {
        std::vector<std::uint64_t> blocks;
        for (std::uint64_t i = 0; i < model.block_count(); ++i)
            if (model.room(i) > 0) blocks.push_back(i);
        return blocks;
    }
    static Bytes noise() { return Bytes(kBlock, std::byte{0x5a}); }
};

}  // namespace

TEST_F(RunVolumesTest, APointHasBothAndEachIsAsLongAsItIs) {
    for (const std::uint64_t each : all())
        model.change(each);
    const auto point = model.run(RunMode::kFull, all());
    ASSERT_TRUE(point) << point.error().text();
    ASSERT_EQ(point->volumes.size(), 2U);
    EXPECT_EQ(point->volumes[0].name, "disk0");
    EXPECT_EQ(point->volumes[0].bytes, kFirst);
    EXPECT_EQ(point->volumes[1].name, "second");
    EXPECT_EQ(point->volumes[1].bytes, kSecond);
    EXPECT_EQ(point->volumes[1].changed_bytes, kSecond);
    EXPECT_EQ(model.check_all(), 1U);
    // A change of one leaves the other's indexes as they were.
    model.change(second + 3);
    const auto next = model.run(RunMode::kExtents, {second + 3});
    ASSERT_TRUE(next) << next.error().text();
    EXPECT_EQ(next->volumes[0].indexes, point->volumes[0].indexes);
    EXPECT_NE(next->volumes[1].indexes, point->volumes[1].indexes);
    EXPECT_EQ(model.check_all(), 2U);
    EXPECT_TRUE(Scrub(model.vault(), {.threads = 1}).run()->sound());
}

TEST_F(RunVolumesTest, ARunThatWasCutOffInTheSecondGoesOnThere) {
    for (const std::uint64_t each : all())
        model.change(each);
    const auto blocks = all();
    const std::size_t done = blocks.size() - 4;
    {
        const auto writer = model.begin(RunMode::kFull);
        ASSERT_TRUE(writer);
        for (std::size_t i = 0; i < done; ++i)
            ASSERT_TRUE(model.put(**writer, blocks[i]));
        ASSERT_TRUE((*writer)->flush());
    }
    EXPECT_EQ(model.check_all(), 0U);  // one of them whole is no point
    const auto state = SeriesLog(model.vault(), model.series).read();
    ASSERT_TRUE(state && state->unfinished() != nullptr);
    const auto acknowledged =
        acknowledged_extents(*model.vault(), model.series, *state->unfinished(), model.layout());
    ASSERT_TRUE(acknowledged);
    EXPECT_EQ(total_bytes(*acknowledged), kFirst + 8 * kBlock);
    EXPECT_EQ(acknowledged->back().end_bytes(), (second + 8) * kBlock);
    const auto writer = model.begin(RunMode::kFull, true);
    ASSERT_TRUE(writer) << writer.error().text();
    for (std::size_t i = done; i < blocks.size(); ++i)
        ASSERT_TRUE(model.put(**writer, blocks[i]));
    ASSERT_TRUE(model.seal(**writer));
    EXPECT_EQ(model.check_all(), 1U);
}

TEST_F(RunVolumesTest, ABlockOfNeitherIsRefused) {
    const auto writer = model.begin(RunMode::kFull);
    ASSERT_TRUE(writer);
    const Bytes plain = noise();
    const std::uint64_t between = second - 3;
    const auto refused = (*writer)->append(
        {.block = between, .check = model.check().of(plain, between * kBlock), .plain = plain},
        plain);
    EXPECT_EQ(error_of(refused).code, Code::kProtocol);
    // Zeros between them are nobody's.
    EXPECT_TRUE((*writer)->zeros(0, model.block_count()));
    ASSERT_TRUE(model.seal(**writer));
    EXPECT_EQ(model.check_all(), 1U);
}

TEST_F(RunVolumesTest, WhatLiesBehindAVolumesEndIsRefused) {
    const auto writer = model.begin(RunMode::kFull);
    ASSERT_TRUE(writer);
    const std::uint64_t last = kFirst / kBlock;
    const Bytes plain = noise();  // five bytes of it are the volume's
    const auto refused = (*writer)->append(
        {.block = last, .check = model.check().of(plain, last * kBlock), .plain = plain}, plain);
    EXPECT_EQ(error_of(refused).code, Code::kCorrupt);
    Bytes good = plain;
    std::fill(good.begin() + 5, good.end(), std::byte{});
    // The check that it came with must be the block's.
    const auto wrong = (*writer)->append({.block = last, .check = 1, .plain = good}, good);
    EXPECT_EQ(error_of(wrong).code, Code::kCorrupt);
    EXPECT_TRUE((*writer)->append(
        {.block = last, .check = model.check().of(good, last * kBlock), .plain = good}, good));
}

TEST_F(RunVolumesTest, AVolumeThatIsAtAnotherPlaceKeepsItsBlocks) {
    for (const std::uint64_t each : all())
        model.change(each);
    ASSERT_TRUE(model.run(RunMode::kFull, all()));
    // The first is taken out: the second one's indexes go on, at the first place.
    VaultModel alone(model.vault(), kSecond);
    alone.source = model.second_source;
    {
        const auto writer = alone.begin(RunMode::kScan);
        ASSERT_TRUE(writer) << writer.error().text();
        const auto sealed = alone.seal(**writer);
        ASSERT_TRUE(sealed) << sealed.error().text();
        EXPECT_EQ(sealed->volumes.size(), 1U);
    }
    const auto state = SeriesLog(model.vault(), model.series).read();
    ASSERT_EQ(state->points.size(), 2U);
    EXPECT_EQ(state->points[0].volumes[1].indexes, state->points[1].volumes[0].indexes);
    // Blocks that both points show are one block, and deleting the first point takes the first
    // volume's alone.
    Collector collector(model.vault(), model.series, {.dead_share_max = 0});
    ASSERT_TRUE(collector.delete_points({state->points[0].number}));
    ASSERT_TRUE(collector.collect());
    EXPECT_TRUE(Scrub(model.vault(), {.threads = 1}).run()->sound());
    const auto open = OpenPoint::open(model.vault(), model.series, "latest");
    ASSERT_TRUE(open);
    Bytes bytes(kSecond);
    ASSERT_TRUE((*open->volume(0))->read(0, bytes));
    const auto expected =
        ByteSpan(model.contents()).subspan(model.layout().parts()[1].start_bytes, kSecond);
    EXPECT_TRUE(std::ranges::equal(bytes, expected));
}

TEST_F(RunVolumesTest, TheMomentStandsInThePoint) {
    const auto writer = model.begin(RunMode::kFull);
    ASSERT_TRUE(writer);
    const auto sealed = (*writer)->seal(
        {.state = model.record(TargetState::kSealed, RunMode::kFull),
         .mode = RunMode::kFull,
         .digest = "00",
         .moment = MomentMessage{.label = Label::kFilesystem, .group = true, .frozen_us = 1234}});
    ASSERT_TRUE(sealed) << sealed.error().text();
    const auto state = SeriesLog(model.vault(), model.series).read();
    ASSERT_EQ(state->points.size(), 1U);
    EXPECT_EQ(state->points[0].label, "filesystem");
    EXPECT_TRUE(state->points[0].group);
    EXPECT_EQ(state->points[0].frozen_us, 1234U);
}

}  // namespace towline::testing
