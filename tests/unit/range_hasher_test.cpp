// SPDX-License-Identifier: Apache-2.0
// Hashes come in the order of the blocks, once each, whatever the order in which reads end; holes
// come without being read; a read that fails is an error and no hash.

#include "cbt/range_hasher.hpp"

#include "tests/unit/simulated_fixture.hpp"

namespace towline {
namespace {

constexpr std::uint32_t kBlock = 4096;
constexpr std::uint64_t kVolume = 100 * kBlock + 1000;
const BlockHasher kHasher{BlockHasher::Seed{std::byte{5}}};

struct HasherBench {
    explicit HasherBench(std::uint64_t seed)
        : world(seed),
          disk(world, {.size_bytes = 101 * kBlock}),
          contents(numbered_bytes(kVolume)),
          wanted(kVolume, kBlock) {
        std::fill_n(contents.begin() + 7 * kBlock, 3 * kBlock, std::byte{});
        disk.fill(0, contents);
        view = {.handle = engine.attach_disk(disk), .size_bytes = kVolume};
    }
    // Runs to its end; false when it does not come.
    bool run(std::function<void(RangeHasher&)> meddle = {}) {
        RangeHasher hasher(
            engine, pool, view, kHasher, wanted, data,
            [&](const RangeHasher::Piece& piece) {
                EXPECT_FALSE(held);
                add(piece);
                if (meddle) meddle(*current);
            },
            [&](const Status& status) { done = status; });
        current = &hasher;
        hasher.start();
        const auto ended = [&] { return done.has_value() && hasher.idle(); };
        return world.run(ended, kLongEnough) == RunEnd::kDone;
    }
    void add(const RangeHasher::Piece& piece) {
        EXPECT_GE(piece.run.first, next);
        next = piece.run.end();
        for (std::uint64_t i = 0; i < piece.run.count; ++i) {
            hashes[piece.run.first + i] = piece.hashes.empty() ? Hash128{} : piece.hashes[i];
        }
    }
    Hash128 expected(std::uint64_t block) const {
        const std::uint64_t at = block * kBlock;
        return kHasher.of(
            ByteSpan(contents).subspan(at, std::min<std::uint64_t>(kBlock, kVolume - at)));
    }
    void expect_all_wanted() {
        for (std::uint64_t block = 0; block < 101; ++block) {
            EXPECT_EQ(hashes.contains(block), wanted.test(block)) << block;
            if (wanted.test(block)) {
                EXPECT_EQ(hashes[block], expected(block)) << block;
            }
        }
    }

    SimulatedWorld world;
    SimulatedDisk disk;
    SimulatedEngine engine{world, "side"};
    BufferPool pool{4, 4 * kBlock};
    VolumeView view;
    std::vector<std::byte> contents;
    ChangeMap wanted;
    std::vector<Extent> data{{0, kVolume}};
    RangeHasher* current = nullptr;
    bool held = false;
    std::uint64_t next = 0;
    std::map<std::uint64_t, Hash128> hashes;
    std::optional<Status> done;
};

TEST(RangeHasher, HashesWhatIsWantedInOrder) {
    for (std::uint64_t seed = 0; seed < kSeedCount; ++seed) {
        HasherBench bench(seed);
        bench.disk.plan().short_read_rate = seed % 2 == 0 ? 0 : 0.3;
        if (seed % 4 == 0) bench.wanted.mark_all();
        for (int i = 0; i < 30; ++i)
            bench.wanted.mark_blocks({.first = bench.world.random().below(101), .count = 1});
        ASSERT_TRUE(bench.run()) << seed;
        EXPECT_TRUE(bench.done->has_value());
        bench.expect_all_wanted();
        EXPECT_EQ(bench.pool.out_count(), 0U);
    }
}

TEST(RangeHasher, HolesAreZerosWithoutBeingRead) {
    HasherBench bench(1);
    bench.wanted.mark_all();
    bench.data = {{0, 10 * kBlock}, {50 * kBlock + 100, 10}, {100 * kBlock, 1000}};
    ASSERT_TRUE(bench.run());
    for (std::uint64_t block = 0; block < 101; ++block) {
        const bool read = block < 10 || block == 50 || block == 100;
        EXPECT_EQ(bench.hashes.at(block), read ? bench.expected(block) : Hash128{}) << block;
    }
    EXPECT_LE(bench.disk.started_count(DiskOperation::kRead), 6U);
}

TEST(RangeHasher, HeldItHandsNothingOnAndGoesOnAfter) {
    for (std::uint64_t seed = 0; seed < kSeedCount; ++seed) {
        HasherBench bench(seed);
        bench.wanted.mark_all();
        ASSERT_TRUE(bench.run([&](RangeHasher& hasher) {
            hasher.hold(bench.held = true);
            bench.world.at(bench.world.now() + 10ms, [&] { hasher.hold(bench.held = false); });
        }));
        bench.expect_all_wanted();
    }
}

TEST(RangeHasher, AFailedReadIsAnError) {
    for (std::uint64_t nth = 1; nth <= 20; ++nth) {
        HasherBench bench(nth);
        bench.wanted.mark_all();
        bench.disk.add_fault({.operation = DiskOperation::kRead, .nth = nth});
        ASSERT_TRUE(bench.run()) << nth;
        ASSERT_FALSE(*bench.done);
        EXPECT_EQ(bench.done->error().system_errno, EIO);
    }
}

TEST(RangeHasher, StoppedItIsCancelledOnce) {
    HasherBench bench(1);
    bench.wanted.mark_all();
    ASSERT_TRUE(bench.run([](RangeHasher& hasher) { hasher.stop(); }));
    EXPECT_EQ(bench.done->error().code, Code::kCancelled);
    EXPECT_LE(bench.hashes.size(), 4U);
}

}  // namespace
}  // namespace towline
