// SPDX-License-Identifier: Apache-2.0
// Two streams of digests against a plain model: what differs, or is there on one side only, is
// found however the streams are cut; what does not keep its order is refused.

#include "userspace/engine/scan_compare.hpp"

#include <gtest/gtest.h>

#include "io/simulated_random.hpp"

namespace towline {
namespace {

constexpr std::uint64_t kBlocks = 200;
using Hashes = std::vector<Hash128>;

// What one side says: a hash a block, {0, 0} for zeros, nothing for a block it leaves out.
using Stream = std::vector<std::optional<Hash128>>;

struct Piece {
    BlockRun run;
    Hashes hashes;
};

// Cuts a stream at random places into runs of zeros and of hashes.
std::deque<Piece> cut(const Stream& stream, SimulatedRandom& random) {
    std::deque<Piece> pieces;
    for (std::uint64_t at = 0; at < stream.size();) {
        if (!stream[at]) {
            ++at;
            continue;
        }
        const bool zeros = stream[at]->is_zero_block() && random.below(4) != 0;
        const std::uint64_t count_max = 1 + random.below(9);
        Piece piece{.run = {.first = at, .count = 0}, .hashes = {}};
        while (at < stream.size() && stream[at] && piece.run.count < count_max &&
               (!zeros || stream[at]->is_zero_block())) {
            if (!zeros) piece.hashes.push_back(*stream[at]);
            ++piece.run.count;
            ++at;
        }
        pieces.push_back(std::move(piece));
    }
    return pieces;
}

Stream random_stream(SimulatedRandom& random, std::uint64_t missing_of_ten) {
    Stream stream;
    for (std::uint64_t i = 0; i < kBlocks; ++i) {
        stream.push_back(Hash128{random.below(3), 0});
        if (random.below(10) < missing_of_ten) stream.back().reset();
    }
    return stream;
}

TEST(ScanCompare, FindsWhatAPlainComparisonFinds) {
    for (std::uint64_t seed = 0; seed < 500; ++seed) {
        SimulatedRandom random(seed);
        const Stream ours = random_stream(random, seed % 3);
        const Stream theirs = random_stream(random, seed % 4);
        ChangeMap differing(kBlocks * 4096, 4096);
        ScanCompare compare(differing);
        auto mine = cut(ours, random);
        auto other = cut(theirs, random);
        while (!mine.empty() || !other.empty()) {
            const bool take_mine = other.empty() || (!mine.empty() && random.below(2) == 0);
            auto& from = take_mine ? mine : other;
            const Piece piece = std::move(from.front());
            from.pop_front();
            ASSERT_TRUE(take_mine ? compare.ours(piece.run, piece.hashes)
                                  : compare.theirs(piece.run, piece.hashes));
        }
        compare.theirs_ended();
        for (std::uint64_t i = 0; i < kBlocks; ++i)
            EXPECT_EQ(differing.test(i), ours[i] && ours[i] != theirs[i]) << seed << " " << i;
    }
}

TEST(ScanCompare, CountsDataThatIsNotOurs) {
    ChangeMap differing(8 * 4096, 4096);
    ScanCompare compare(differing);
    EXPECT_TRUE(compare.ours({0, 4}, Hashes{{1, 1}, {0, 0}, {3, 3}, {4, 4}}));
    EXPECT_TRUE(compare.theirs({0, 4}, Hashes{{1, 1}, {2, 2}, {9, 9}, {0, 0}}));
    EXPECT_EQ(compare.their_data_blocks(), 3U);
    EXPECT_EQ(compare.their_lost_blocks(), 2U);
    EXPECT_EQ(compare.compared_blocks(), 4U);
    EXPECT_TRUE(compare.drained());
}

TEST(ScanCompare, RefusesWhatDoesNotKeepItsOrder) {
    ChangeMap differing(8 * 4096, 4096);
    ScanCompare compare(differing);
    EXPECT_TRUE(compare.theirs({2, 2}, {}));
    EXPECT_FALSE(compare.theirs({3, 1}, {}));  // again
    EXPECT_FALSE(compare.theirs({0, 1}, {}));  // back
    EXPECT_FALSE(compare.theirs({4, 0}, {}));  // nothing
    EXPECT_FALSE(compare.theirs({8, 1}, {}));  // past the end
    EXPECT_FALSE(compare.theirs({4, 5}, {}));
    EXPECT_FALSE(compare.theirs({4, UINT64_MAX}, {}));
    EXPECT_FALSE(compare.theirs({4, 2}, Hashes{{1, 1}}));
    EXPECT_TRUE(compare.theirs({7, 1}, {}));
    compare.theirs_ended();
    EXPECT_FALSE(compare.theirs({7, 1}, {}));
    // What they had not is ours alone.
    EXPECT_TRUE(compare.ours({0, 8}, {}));
    EXPECT_EQ(differing.marked_blocks(), 5U);
}

// Whoever is ahead is held by these counts: zeros told block by block count too.
TEST(ScanCompare, EverythingThatWaitsIsCounted) {
    ChangeMap differing(1000 * 4096, 4096);
    ScanCompare compare(differing);
    for (std::uint64_t block = 0; block < 900; ++block)
        EXPECT_TRUE(compare.theirs({block, 1}, {}));
    EXPECT_GE(compare.theirs_waiting(), 900U);
    EXPECT_EQ(compare.ours_waiting(), 0U);
    EXPECT_TRUE(compare.ours({0, 1000}, {}));
    EXPECT_EQ(compare.theirs_waiting(), 0U);
}

}  // namespace
}  // namespace towline
