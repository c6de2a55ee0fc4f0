// SPDX-License-Identifier: Apache-2.0
// In a vault that keeps no identities a block that is bad is again what it was when the proof of
// its group says so; nothing that merely looks like it is ever put there, and no rewriting makes a
// proof for what is damaged.

#include <algorithm>

#include "userspace/vault/block_mender.hpp"
#include "userspace/vault/scrub.hpp"
#include "userspace/vault/segment_writer.hpp"
#include "vault_fixture.hpp"

namespace towline::testing {
namespace {

using vault_format::ObjectKind;

constexpr std::uint64_t kBlocks = 22;  // five groups, and half a one
using Numbers = std::vector<std::uint64_t>;

// A vault with one full point of it; blocks with odd numbers do not compress.
struct ProofMenderTest : ::testing::TestWithParam<bool> {
    TemporaryFolder folder;
    std::shared_ptr<Vault> vault =
        new_vault(folder.path() + "/vault", GetParam() ? encrypted_config() : VaultConfig{});
    VaultModel model{vault, kBlocks* kBlock - 1000};
    Numbers all;
    SegmentKey first;  // where the first point's blocks are

    void SetUp() override {
        for (std::uint64_t i = 0; i < kBlocks; ++i) {
            fill(i);
            all.push_back(i);
        }
        ASSERT_TRUE(model.full());
        const ObjectId id = ids().front();
        first = {id.writer, id.number};
    }
    void fill(std::uint64_t number) {
        const std::uint64_t values = number % 2 == 0 ? 7 : 256;
        std::ranges::generate(model.block(number),
                              [&] { return static_cast<std::byte>(model.random()() % values); });
    }

    std::vector<ObjectId> ids() const {
        std::vector<ObjectId> found;
        const auto listed = vault->store().list("segment/disk0/");
        EXPECT_TRUE(listed);
        for (const ObjectInfo& each : *listed)
            found.push_back(*parse_object_name(ObjectKind::kSegment, "disk0", each.name));
        return found;
    }
    OpenSegment open_first() const {
        const auto id = find_segment(vault->store(), "disk0", first.writer, first.serial);
        return open_segment(vault->store(), vault->id(), **id).value();
    }
    // The object of the first segment as it is, but for what `change` does to it: also where its
    // store would let nobody alter a byte.
    void alter(const std::function<void(const OpenSegment&, Bytes&)>& change) const {
        const OpenSegment segment = open_first();
        const std::string name = segment.id.object_name();
        Bytes bytes(segment.object_bytes);
        ASSERT_TRUE(read_exactly(vault->store(), name, 0, bytes));
        change(segment, bytes);
        const std::vector<std::string> old{name};
        ASSERT_TRUE(vault->store().remove(old));
        ASSERT_TRUE(*vault->store().put_if_absent(name, bytes));
        vault->store().forget(name);
    }
    // A bit of each of these is another in the first segment.
    void spoil(const Numbers& numbers) const {
        alter([&](const OpenSegment& segment, Bytes& bytes) {
            for (std::size_t i = 0; i < segment.offsets.size(); ++i) {
                const SegmentEntry& entry = segment.table.entries[i];
                if (std::ranges::find(numbers, entry.block) != numbers.end())
                    bytes[segment.offsets[i] + entry.stored_bytes / 2] ^= std::byte{4};
            }
        });
    }
    // One with a block that nobody brought, as from another run of the same volume.
    void put_segment(std::uint64_t block, ByteSpan stored) const {
        const BlockCheck check(model.source);
        auto segment =
            SegmentWriter::begin(*vault, {ObjectKind::kSegment, "disk0", Uuid::random(), 1, 1},
                                 {.source = model.source,
                                  .seed = check.seed(),
                                  .volume_bytes = model.contents().size(),
                                  .block_bytes = kBlock,
                                  .entries = {},
                                  .proofs = {}});
        ASSERT_TRUE(segment);
        ASSERT_TRUE(segment->append(
            {.block = block, .kind = 0, .check = check.of(stored, block * kBlock)}, stored));
        ASSERT_TRUE(segment->commit());
    }
    // A full run whose source packs otherwise.
    void bring_again(BlockKind kind, int level) {
        const auto writer = model.begin(RunMode::kFull);
        ASSERT_TRUE(writer);
        for (const std::uint64_t each : all)
            ASSERT_TRUE(model.put(**writer, each, kind, level));
        ASSERT_TRUE(model.seal(**writer));
    }

    ScrubReport scrub() const {
        auto report = Scrub(vault, {.threads = 1}).run();
        EXPECT_TRUE(report) << report.error().text();
        return report ? *report : ScrubReport{};
    }
    std::size_t bad_count() const {
        std::size_t count = 0;
        for (const auto& [key, origins] : scrub().bad_blocks)
            count += origins.size();
        return count;
    }
    MendReport mend() const {
        const auto report = mend_blocks(vault, scrub().bad_blocks);
        EXPECT_TRUE(report) << report.error().text();
        return report ? *report : MendReport{};
    }
    void expect_mended(std::uint64_t mended, std::uint64_t left) const {
        const MendReport report = mend();
        EXPECT_EQ(report.mended_blocks, mended);
        EXPECT_EQ(report.left_blocks, left);
        EXPECT_EQ(report.busy_blocks, 0U);
        EXPECT_EQ(bad_count(), left);
    }
    // The point of these, which only the first segment's other blocks outlive.
    void outdate(const Numbers& numbers) {
        for (const std::uint64_t each : numbers)
            fill(each);
        ASSERT_TRUE(model.run(RunMode::kExtents, numbers));
        Collector collector(vault, model.series);
        ASSERT_TRUE(collector.delete_points({SeriesLog(vault, model.series).read()->counting[0]}));
    }
    CollectReport collect() const {
        const auto report = Collector(vault, model.series, {.dead_share_max = 0}).collect();
        EXPECT_TRUE(report) << report.error().text();
        return report ? *report : CollectReport{};
    }
};

INSTANTIATE_TEST_SUITE_P(PlainAndEncrypted, ProofMenderTest, ::testing::Bool());

}  // namespace

TEST_P(ProofMenderTest, WhatABitChangedIsUndone) {
    spoil({5});
    ASSERT_EQ(bad_count(), 1U);
    ASSERT_TRUE(model.full());
    expect_mended(1, 0);
    EXPECT_EQ(open_first().id.generation, 2U);
    EXPECT_EQ(model.check_all(), 2U);
}

// The volume's last block is a short one, and its group has two.
TEST_P(ProofMenderTest, SeveralOfAGroupAreUndoneAtOnce) {
    spoil({4, 5, 7, 10, 20, 21});
    ASSERT_TRUE(model.full());
    expect_mended(6, 0);
    EXPECT_EQ(model.check_all(), 2U);
}

TEST_P(ProofMenderTest, AStretchThatIsLostComesBack) {
    alter([&](const OpenSegment& segment, Bytes& bytes) {
        const std::uint64_t from = segment.offsets[3] + 100;
        std::ranges::fill(MutableByteSpan(bytes).subspan(from, segment.offsets[12] - from),
                          std::byte{0});
    });
    ASSERT_TRUE(model.full());
    expect_mended(9, 0);
    EXPECT_EQ(model.check_all(), 2U);
}

// What has no equal keeps the others of its group, and of no other. The old proof stays beside what
// it does not prove: so once the last one is there, all of them come back.
TEST_P(ProofMenderTest, AGroupWaitsForItsLastBlock) {
    spoil({4, 6, 9});
    const Bytes was(model.block(6).begin(), model.block(6).end());
    fill(6);
    ASSERT_TRUE(model.full());
    expect_mended(1, 2);
    EXPECT_EQ(open_first().id.generation, 2U);
    expect_mended(0, 2);
    EXPECT_EQ(open_first().id.generation, 2U);
    std::ranges::copy(was, model.block(6).begin());
    ASSERT_TRUE(model.full());
    expect_mended(2, 0);
    EXPECT_EQ(model.check_all(), 3U);
}

TEST_P(ProofMenderTest, WhatComesBackRawIsPackedAgain) {
    spoil(all);
    bring_again(BlockKind::kRaw, kLevelNone);
    expect_mended(kBlocks, 0);
    EXPECT_EQ(model.check_all(), 2U);
}

TEST_P(ProofMenderTest, WhatComesBackByAnotherCodecOrLevelIsPackedAsItWas) {
    spoil(all);
    bring_again(BlockKind::kDeflate, 9);
    expect_mended(kBlocks, 0);
    EXPECT_EQ(model.check_all(), 2U);
}

TEST_P(ProofMenderTest, WhatHasNoEqualStaysBad) {
    spoil({5, 14});
    fill(5);
    fill(14);
    ASSERT_TRUE(model.full());
    expect_mended(0, 2);
    EXPECT_EQ(open_first().id.generation, 1U);
}

// Of equal length, kind, and both CRCs: nothing but the proof knows that it is another one.
TEST_P(ProofMenderTest, ABlockOfTheSameCrcsIsNotTaken) {
    const Bytes plain(model.block(5).begin(), model.block(5).end());
    const Bytes other = of_equal_crc(plain);
    ASSERT_NE(plain, other);
    ASSERT_EQ(crc32c(plain), crc32c(other));
    ASSERT_EQ(model.check().of(plain, 5 * kBlock), model.check().of(other, 5 * kBlock));
    spoil({5});
    put_segment(5, other);
    expect_mended(0, 1);
    // Beside the right one it is no hindrance.
    put_segment(5, plain);
    expect_mended(1, 0);
    EXPECT_EQ(model.check_all(), 1U);
}

TEST_P(ProofMenderTest, NothingIsProvedByAnotherKey) {
    spoil({5});
    ASSERT_TRUE(model.full());
    VaultConfig config = vault->config();
    config.proofs = Uuid::random();
    ASSERT_TRUE(vault->save(config));
    vault = *Vault::open(folder.path() + "/vault", GetParam() ? test_keys() : KeySource{});
    model.reopen(vault);
    // Nor is anything else: all of both segments, but for what is beside the bad one in its group.
    expect_mended(0, 2 * all.size() - 3);
}

TEST_P(ProofMenderTest, WhatAnUnfinishedRunHasPutIsLeftAlone) {
    const Bytes before = model.contents();
    const auto writer = model.begin(RunMode::kFull);
    ASSERT_TRUE(writer);
    for (const std::uint64_t each : all)
        ASSERT_TRUE(model.put(**writer, each));
    ASSERT_TRUE((*writer)->flush());
    const SegmentKey sealed = first;
    for (const ObjectId& each : ids())
        if (each.writer != sealed.writer) first = {each.writer, each.number};
    spoil({5});
    const MendReport report = mend();
    EXPECT_EQ(report.mended_blocks, 0U);
    EXPECT_EQ(report.busy_blocks, 1U);
    // It may give all the same.
    first = sealed;
    spoil({6});
    EXPECT_EQ(mend().mended_blocks, 1U);
    EXPECT_EQ(model.check_all(), 1U);
}

// --- what a collector makes of it ---------------------------------------------------------------

TEST_P(ProofMenderTest, WhatWasRewrittenIsProvedAnew) {
    outdate({0, 1, 6, 13});
    collect();
    ASSERT_EQ(open_first().id.generation, 2U);
    // In groups of now, which are not those of before.
    spoil({2, 5, 12, 20});
    ASSERT_TRUE(model.full());
    expect_mended(4, 0);
    EXPECT_EQ(open_first().id.generation, 3U);
    EXPECT_EQ(model.check_all(), 2U);
}

TEST_P(ProofMenderTest, WhatNobodyNeedsKeepsNobodyFromBeingRewritten) {
    outdate({0, 5});
    spoil({5});
    EXPECT_TRUE(collect().left.empty());
    ASSERT_EQ(open_first().id.generation, 2U);
    spoil({4, 7});
    ASSERT_TRUE(model.full());
    expect_mended(2, 0);
    EXPECT_EQ(model.check_all(), 2U);
}

TEST_P(ProofMenderTest, WhatIsDamagedGetsNoNewProof) {
    outdate({0, 5});
    spoil({4, 9});
    EXPECT_EQ(collect().left.size(), 1U);
    ASSERT_EQ(open_first().id.generation, 1U);
    ASSERT_TRUE(model.full());
    expect_mended(2, 0);
    EXPECT_TRUE(collect().left.empty());
    EXPECT_EQ(open_first().id.generation, 3U);
    EXPECT_EQ(model.check_all(), 2U);
}

// No CRC sees it.
TEST_P(ProofMenderTest, NorDoesWhatOnlyLooksSound) {
    outdate({0, 5});
    alter([](const OpenSegment& segment, Bytes& bytes) {
        const MutableByteSpan block = MutableByteSpan(bytes).subspan(segment.offsets[7], kBlock);
        std::ranges::copy(of_equal_crc(block), block.begin());
    });
    // Its group has not its proof.
    ASSERT_EQ(bad_count(), 4U);
    EXPECT_EQ(collect().left.size(), 1U);
    EXPECT_EQ(open_first().id.generation, 1U);
}

}  // namespace towline::testing
