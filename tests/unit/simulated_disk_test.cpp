// SPDX-License-Identifier: Apache-2.0
// What a simulated disk does with writes that were not flushed, and with the faults it is given: a
// disk that is kinder than a real one would let a pipeline pass that loses data.

#include <cerrno>
#include <set>

#include "tests/unit/simulated_fixture.hpp"

namespace towline {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

TEST(SimulatedDisk, UnsyncedWriteIsReadButLostAtCrash) {
    DiskBench bench(1, {.size_bytes = kMiB});
    EXPECT_EQ(bench.write(4096, 8192, 0xaa), 8192);
    Block block(512, 0);
    EXPECT_EQ(bench.read(4096 + 8192 - 512, block.bytes()), 512);
    EXPECT_EQ(block.at(511), 0xaa);
    EXPECT_EQ(bench.disk.crash(CrashStyle::kLoseAll).writes_lost, 1u);
    EXPECT_EQ(bench.read(4096 + 8192 - 512, block.bytes()), 512);
    EXPECT_EQ(block.at(511), 0);
}

TEST(SimulatedDisk, FlushKeepsWhatCompletedBeforeIt) {
    for (std::uint64_t seed = 0; seed < kSeedCount; ++seed) {
        DiskBench bench(seed, {.size_bytes = kMiB});
        bench.write(0, 70000 / 512 * 512, 0xaa);
        bench.zero(512, 512);
        EXPECT_EQ(bench.flush(), 0);
        bench.disk.crash();
        EXPECT_EQ(bench.byte_at(511), 0xaa);
        EXPECT_EQ(bench.byte_at(512), 0);
        EXPECT_EQ(bench.byte_at(69000), 0xaa);
    }
}

TEST(SimulatedDisk, FlushDoesNotCoverWriteInFlightAtItsStart) {
    for (std::uint64_t seed = 0; seed < kSeedCount; ++seed) {
        DiskBench bench(seed, {.size_bytes = kMiB});
        Block block(512, 0xaa);
        Awaited written;
        Awaited flushed;
        bench.engine.write(bench.handle, block.bytes(), 0, written.completion);
        bench.engine.flush(bench.handle, flushed.completion);
        await(bench.world, written);
        await(bench.world, flushed);
        EXPECT_EQ(bench.byte_at(0), 0xaa);
        bench.disk.crash(CrashStyle::kLoseAll);
        EXPECT_EQ(bench.byte_at(0), 0) << "seed " << seed;
    }
}

TEST(SimulatedDisk, CrashTearsAtSectorsOnly) {
    std::uint64_t torn_count = 0;
    for (std::uint64_t seed = 0; seed < kSeedCount; ++seed) {
        DiskBench bench(seed, {.size_bytes = 66 * 512});
        bench.disk.fill(0, std::vector<std::byte>(66 * 512, std::byte{0x11}));
        bench.write(512, 64 * 512, 0xaa);
        torn_count += bench.disk.crash(CrashStyle::kTorn).writes_torn;
        const std::vector<std::byte> after = bench.disk.contents();
        for (std::size_t i = 0; i < after.size(); ++i) {
            ASSERT_EQ(after[i], after[i / 512 * 512]);
            ASSERT_TRUE(after[i] == std::byte{0x11} || after[i] == std::byte{0xaa});
        }
    }
    EXPECT_GT(torn_count, kSeedCount / 2);
}

// Two writes over a flushed one: any of the three may be there, and nothing else.
TEST(SimulatedDisk, CrashLeavesAnyVersionSinceTheFlush) {
    std::set<int> seen;
    for (std::uint64_t seed = 0; seed < kSeedCount; ++seed) {
        DiskBench bench(seed, {.size_bytes = kMiB});
        for (const int version : {1, 2, 3, 4}) {
            bench.write(0, 512, version);
            if (version == 2) bench.flush();
        }
        bench.disk.crash();
        seen.insert(bench.byte_at(0));
    }
    EXPECT_EQ(seen, (std::set{2, 3, 4}));
}

TEST(SimulatedDisk, CrashKeepsLaterWriteAndLosesEarlier) {
    bool reordered = false;
    for (std::uint64_t seed = 0; seed < kSeedCount; ++seed) {
        DiskBench bench(seed, {.size_bytes = kMiB});
        bench.write(0, 512, 1);
        bench.write(8192, 512, 2);
        bench.disk.crash(CrashStyle::kPerWrite);
        reordered |= bench.byte_at(0) == 0 && bench.byte_at(8192) == 2;
    }
    EXPECT_TRUE(reordered);
}

TEST(SimulatedDisk, ZerosAreUnsyncedLikeWrites) {
    DiskBench bench(1, {.size_bytes = kMiB});
    bench.disk.fill(0, std::vector<std::byte>(kMiB, std::byte{0x11}));
    EXPECT_EQ(bench.zero(0, kMiB), 0);
    EXPECT_EQ(bench.byte_at(kMiB - 1), 0);
    bench.disk.crash(CrashStyle::kLoseAll);
    EXPECT_EQ(bench.byte_at(kMiB - 1), 0x11);
    EXPECT_EQ(bench.zero(kMiB - 512, 1024), -EINVAL);
}

TEST(SimulatedDisk, NthOperationFailsOnceOrFromThenOn) {
    DiskBench bench(1, {.size_bytes = kMiB});
    bench.disk.add_fault({.operation = DiskOperation::kWrite, .nth = 2, .system_errno = EIO});
    bench.disk.add_fault(
        {.operation = DiskOperation::kWrite, .nth = 4, .system_errno = ENOSPC, .sticky = true});
    EXPECT_EQ(bench.write(0, 512, 1), 512);
    EXPECT_EQ(bench.write(0, 512, 1), -EIO);
    EXPECT_EQ(bench.write(0, 512, 1), 512);
    EXPECT_EQ(bench.write(0, 512, 1), -ENOSPC);
    EXPECT_EQ(bench.write(0, 512, 1), -ENOSPC);
    EXPECT_EQ(bench.flush(), 0);
    bench.disk.clear_faults();
    EXPECT_EQ(bench.write(0, 512, 1), 512);
    EXPECT_EQ(bench.disk.started_count(DiskOperation::kWrite), 6u);
}

TEST(SimulatedDisk, BadRangeFailsReadsThatTouchItAndNoOther) {
    DiskBench bench(1, {.size_bytes = kMiB});
    bench.disk.add_fault({.operation = DiskOperation::kRead,
                          .sticky = true,
                          .begin_bytes = 8192,
                          .end_bytes = 8704});
    Block block(4096, 0x77);
    EXPECT_EQ(bench.read(4096, block.bytes()), 4096);
    EXPECT_EQ(block.at(0), 0);
    EXPECT_EQ(bench.read(8192, block.bytes()), -EIO);
    EXPECT_NE(block.at(0), 0);  // what a failed read leaves passes for no data
    EXPECT_EQ(bench.read(8704 - 512, block.bytes()), -EIO);
    EXPECT_EQ(bench.read(8704, block.bytes()), 4096);
}

// Linux reports a lost write-back once; the flush that follows succeeds without it.
TEST(SimulatedDisk, WhatAFailedFlushLostNoLaterFlushSaves) {
    std::uint64_t lost_count = 0;
    for (std::uint64_t seed = 0; seed < kSeedCount; ++seed) {
        DiskBench bench(seed, {.size_bytes = kMiB});
        bench.disk.add_fault({.operation = DiskOperation::kFlush});
        bench.write(0, 512, 0xaa);
        EXPECT_EQ(bench.flush(), -EIO);
        EXPECT_EQ(bench.flush(), 0);
        EXPECT_EQ(bench.byte_at(0), 0xaa);
        bench.disk.crash(CrashStyle::kKeepAll);
        lost_count += bench.byte_at(0) == 0;
    }
    EXPECT_GT(lost_count, 0u);
    EXPECT_LT(lost_count, kSeedCount);
}

TEST(SimulatedDisk, ShortTransfersAreWholeSectors) {
    DiskBench bench(1, {.size_bytes = kMiB, .short_read_rate = 0.5, .short_write_rate = 0.5});
    Block from(16384, 0xaa);
    Block into(16384, 0);
    std::uint64_t short_count = 0;
    for (int i = 0; i < 64; ++i) {
        bench.disk.fill(0, std::vector<std::byte>(16384));
        const std::int64_t written = bench.write(0, from.bytes());
        ASSERT_GT(written, 0);
        ASSERT_EQ(written % 512, 0);
        EXPECT_EQ(bench.byte_at(static_cast<std::uint64_t>(written) - 1), 0xaa);
        EXPECT_EQ(bench.byte_at(static_cast<std::uint64_t>(written)), 0);
        const std::int64_t read = bench.read(0, into.bytes());
        ASSERT_GT(read, 0);
        ASSERT_EQ(read % 512, 0);
        short_count += (written < 16384) + (read < 16384);
    }
    EXPECT_GT(short_count, 32u);
    EXPECT_LT(short_count, 96u);
}

TEST(SimulatedDisk, ReadsEndAtTheEndOfTheFile) {
    DiskBench bench(1, {.size_bytes = 1000});
    Block block(1024, 0x77);
    EXPECT_EQ(bench.read(512, block.bytes()), 488);
    EXPECT_EQ(bench.read(1024, block.bytes()), 0);
    EXPECT_EQ(bench.read(4096, block.bytes()), 0);
}

TEST(SimulatedDisk, DeviceEndsWhereAFileGrows) {
    DiskBench device(1, {.size_bytes = 4096});
    EXPECT_EQ(device.write(2048, 4096, 0xaa), 2048);
    EXPECT_EQ(device.write(4096, 512, 0xaa), -ENOSPC);

    DiskBench file(1, {.size_bytes = 4096, .grows = true});
    EXPECT_EQ(file.write(8192, 512, 0xaa), 512);
    EXPECT_EQ(file.disk.size_bytes(), 8704u);
    EXPECT_EQ(file.byte_at(5000), 0);
    file.disk.crash(CrashStyle::kLoseAll);
    EXPECT_EQ(file.disk.size_bytes(), 4096u);
}

TEST(SimulatedDisk, RefusesWhatIsNotAligned) {
    DiskBench bench(1, {.size_bytes = kMiB});
    Block block(1024, 0xaa);
    EXPECT_EQ(bench.write(100, block.bytes()), -EINVAL);
    EXPECT_EQ(bench.write(0, block.bytes().first(700)), -EINVAL);
    EXPECT_EQ(bench.read(0, block.bytes().subspan(8, 512)), -EINVAL);
    EXPECT_EQ(bench.disk.unsynced_count(), 0u);

    DiskBench buffered(1, {.size_bytes = kMiB, .alignment_bytes = 1});
    EXPECT_EQ(buffered.write(100, block.bytes().first(700)), 700);
}

TEST(SimulatedDisk, ReadMeetsWriteInFlightInEitherState) {
    // All take equally long, so that only the moment of the effect differs.
    const Duration delay = 1ms;
    std::set<int> seen;
    for (std::uint64_t seed = 0; seed < kSeedCount; ++seed) {
        DiskBench bench(seed, {.size_bytes = kMiB, .delay_min = delay, .delay_max = delay});
        Block from(512, 0xaa);
        Block into(512, 0x77);
        Awaited written;
        Awaited read;
        bench.engine.write(bench.handle, from.bytes(), 0, written.completion);
        bench.engine.read(bench.handle, into.bytes(), 0, read.completion);
        await(bench.world, written);
        await(bench.world, read);
        seen.insert(into.at(0));
    }
    EXPECT_EQ(seen, (std::set{0, 0xaa}));
}

TEST(SimulatedDisk, CompletionsComeInAnotherOrderThanStarts) {
    DiskBench bench(1, {.size_bytes = kMiB});
    Block block(512, 0xaa);
    std::vector<int> order;
    std::vector<std::unique_ptr<Completion>> completions;
    for (int i = 0; i < 32; ++i) {
        completions.push_back(
            std::make_unique<Completion>([&order, i](std::int64_t) { order.push_back(i); }));
        bench.engine.write(bench.handle, block.bytes(), 512 * static_cast<std::uint64_t>(i),
                           *completions.back());
    }
    EXPECT_EQ(bench.world.run([&] { return order.size() == 32; }, kLongEnough), RunEnd::kDone);
    EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
}

TEST(SparseBytes, HugeRangeIsZeroedWithoutBeingWalked) {
    SparseBytes bytes;
    const std::uint64_t far = std::uint64_t{1} << 50;
    const std::vector<std::byte> written(200000, std::byte{0xaa});
    bytes.write(far, written);
    bytes.zero(0, far + 100);
    bytes.zero(far + 65536 - 10, 65536 + 20);
    std::vector<std::byte> read(200000);
    bytes.read(far, read);
    for (std::size_t i = 0; i < read.size(); ++i) {
        const bool zeroed = i < 100 || (i >= 65536 - 10 && i < 2 * 65536 + 10);
        ASSERT_EQ(read[i], zeroed ? std::byte{0} : std::byte{0xaa}) << i;
    }
}

}  // namespace
}  // namespace towline
