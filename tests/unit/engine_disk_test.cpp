// SPDX-License-Identifier: Apache-2.0
// Disk operations of the engines: what was written must be what is read, whatever buffers it passed
// through, and whatever cannot be done must be told.

#include <algorithm>
#include <array>
#include <sys/mman.h>
#include <sys/stat.h>

#include "engine_fixture.hpp"

namespace towline {
namespace {

constexpr std::size_t kBlock = 65536;

class EngineDiskTest : public EngineTest {
  protected:
    Fd direct_file(std::uint64_t size_bytes) {
        Fd file = open_file("direct", O_RDWR | O_CREAT | O_DIRECT);
        CHECK(file && ::ftruncate(file.get(), static_cast<off_t>(size_bytes)) == 0);
        return file;
    }
    std::int64_t write_now(Handle file, ByteSpan from, std::uint64_t offset_bytes) {
        Outcome written;
        engine_->write(file, from, offset_bytes, written.done);
        return result_of(written);
    }
    std::int64_t read_now(Handle file, MutableByteSpan into, std::uint64_t offset_bytes) {
        Outcome read;
        engine_->read(file, into, offset_bytes, read.done);
        return result_of(read);
    }
    std::int64_t zero_now(Handle file, std::uint64_t offset_bytes, std::uint64_t length_bytes,
                          ZeroMode mode) {
        Outcome zeroed;
        engine_->zero(file, offset_bytes, length_bytes, mode, zeroed.done);
        return result_of(zeroed);
    }
};

TEST_P(EngineDiskTest, ReadsBackWhatItWroteThroughRegisteredBuffers) {
    BufferPool pool(4, kBlock);
    engine_->register_buffers(pool);
    EXPECT_EQ(engine_->notes(), "");
    const Fd fd = direct_file(8 * kBlock);
    const Handle file = attach(fd);
    Buffer* out = pool.take();
    Buffer* in = pool.take();
    fill_noise(out->bytes(), 1);

    EXPECT_EQ(write_now(file, out->bytes(), 3 * kBlock), kBlock);
    EXPECT_EQ(read_now(file, in->bytes(), 3 * kBlock), kBlock);
    EXPECT_TRUE(std::ranges::equal(out->bytes(), in->bytes()));

    // A part of a buffer, to another place.
    EXPECT_EQ(write_now(file, out->bytes().subspan(4096, 8192), 0), 8192);
    EXPECT_EQ(read_now(file, in->bytes().first(8192), 0), 8192);
    EXPECT_TRUE(std::ranges::equal(out->bytes().subspan(4096, 8192), in->bytes().first(8192)));
    pool.give(in);
    pool.give(out);
}

TEST_P(EngineDiskTest, ReadsBackWhatItWroteThroughOtherMemory) {
    BufferPool registered(1, kBlock);
    engine_->register_buffers(registered);
    BufferPool pool(2, kBlock);
    const Fd fd = direct_file(kBlock);
    const Handle file = attach(fd);
    Buffer* out = pool.take();
    Buffer* in = pool.take();
    fill_noise(out->bytes(), 2);
    EXPECT_EQ(write_now(file, out->bytes(), 0), kBlock);
    EXPECT_EQ(read_now(file, in->bytes(), 0), kBlock);
    EXPECT_TRUE(std::ranges::equal(out->bytes(), in->bytes()));
    pool.give(in);
    pool.give(out);
}

TEST_P(EngineDiskTest, BufferedFilesWork) {
    const Fd fd = open_file("buffered", O_RDWR | O_CREAT);
    const Handle file = attach(fd);
    std::vector<std::byte> out(1001), in(1001);
    fill_noise(out, 3);
    EXPECT_EQ(write_now(file, out, 77), 1001);
    EXPECT_EQ(read_now(file, in, 77), 1001);
    EXPECT_EQ(in, out);
    Outcome flushed;
    engine_->flush(file, flushed.done);
    EXPECT_EQ(result_of(flushed), 0);
}

TEST_P(EngineDiskTest, ReadIsShortAtTheEnd) {
    BufferPool pool(1, kBlock);
    const Fd fd = direct_file(kBlock + 4096);
    const Handle file = attach(fd);
    Buffer* in = pool.take();
    EXPECT_EQ(read_now(file, in->bytes(), kBlock), 4096);
    EXPECT_EQ(read_now(file, in->bytes(), 2 * kBlock), 0);
    pool.give(in);
}

TEST_P(EngineDiskTest, TellsWhatTheSystemRefused) {
    direct_file(kBlock);
    const Fd fd = open_file("direct", O_RDONLY | O_DIRECT);
    const Handle file = attach(fd);
    BufferPool pool(1, kBlock);
    Buffer* buffer = pool.take();
    EXPECT_EQ(write_now(file, buffer->bytes(), 0), -EBADF);
    EXPECT_EQ(zero_now(file, 0, kBlock, ZeroMode::kKeep), -EBADF);
    // It works on after that.
    EXPECT_EQ(read_now(file, buffer->bytes(), 0), kBlock);
    pool.give(buffer);
}

TEST_P(EngineDiskTest, FlushOfAFileWithoutDataPasses) {
    const Fd fd = direct_file(0);
    Outcome flushed;
    engine_->flush(attach(fd), flushed.done);
    EXPECT_EQ(result_of(flushed), 0);
}

class EngineZeroTest : public EngineDiskTest {
  protected:
    // Zeroes the middle of three blocks of noise: the neighbours must stay.
    void zero_the_middle(const Fd& fd, ZeroMode mode) {
        const Handle file = attach(fd);
        BufferPool pool(1, 3 * kBlock);
        Buffer* buffer = pool.take();
        fill_noise(buffer->bytes(), 4);
        std::vector<std::byte> expected(buffer->bytes().begin(), buffer->bytes().end());
        ASSERT_EQ(write_now(file, buffer->bytes(), 0), 3 * kBlock);

        ASSERT_EQ(zero_now(file, kBlock, kBlock, mode), 0);

        std::fill_n(expected.begin() + kBlock, kBlock, std::byte{0});
        ASSERT_EQ(read_now(file, buffer->bytes(), 0), 3 * kBlock);
        EXPECT_TRUE(std::ranges::equal(buffer->bytes(), expected));
        pool.give(buffer);
    }
    static blkcnt_t sectors(const Fd& fd) {
        struct stat status {};
        CHECK(::fsync(fd.get()) == 0 && ::fstat(fd.get(), &status) == 0);
        return status.st_blocks;
    }
};

TEST_P(EngineZeroTest, FreeGivesTheSpaceBack) {
    const Fd fd = direct_file(3 * kBlock);
    zero_the_middle(fd, ZeroMode::kFree);
    EXPECT_LE(sectors(fd), 2 * kBlock / 512 + 16);
}

TEST_P(EngineZeroTest, KeepKeepsTheSpace) {
    const Fd fd = direct_file(3 * kBlock);
    zero_the_middle(fd, ZeroMode::kKeep);
    EXPECT_GE(sectors(fd), 3 * kBlock / 512);
}

// tmpfs knows holes but not ZERO_RANGE: zeros are written, in pieces of less than the range.
TEST_P(EngineZeroTest, WritesZerosWhereTheFilesystemCannotZero) {
    const Fd fd(::memfd_create("zeroed", MFD_CLOEXEC));
    ASSERT_TRUE(fd);
    const Handle file = attach(fd);
    constexpr std::size_t kLength = (5 << 20) + 100;
    std::vector<std::byte> noise(kLength), in(kLength);
    fill_noise(noise, 5);
    ASSERT_EQ(write_now(file, noise, 0), kLength);
    ASSERT_EQ(zero_now(file, 10, kLength - 20, ZeroMode::kKeep), 0);
    std::fill(noise.begin() + 10, noise.end() - 10, std::byte{0});
    ASSERT_EQ(read_now(file, in, 0), kLength);
    EXPECT_EQ(in, noise);
    EXPECT_GE(sectors(fd), static_cast<blkcnt_t>(kLength / 512));
    ASSERT_EQ(zero_now(file, 0, kLength, ZeroMode::kFree), 0);
    EXPECT_LE(sectors(fd), 8);  // all but the last, partial page
}

// A callback that starts the next range at once, as the target does.
TEST_P(EngineZeroTest, ManyRangesAtOnceAndFromCallbacks) {
    constexpr int kRanges = 300;
    const Fd fd = direct_file(kRanges * kBlock);
    const Handle file = attach(fd);
    int started = 0;
    int finished = 0;
    std::vector<std::unique_ptr<Completion>> slots;
    slots.reserve(40);
    for (int i = 0; i < 40; ++i)
        slots.push_back(std::make_unique<Completion>());
    const auto start = [&](Completion& slot) {
        engine_->zero(file, static_cast<std::uint64_t>(started++) * kBlock, kBlock, ZeroMode::kKeep,
                      slot);
    };
    for (auto& slot : slots) {
        slot->on_done([&, raw = slot.get()](std::int64_t result) {
            EXPECT_EQ(result, 0);
            ++finished;
            if (started < kRanges) start(*raw);
        });
        start(*slot);
    }
    drain();
    EXPECT_EQ(finished, kRanges);
    EXPECT_GE(sectors(fd), static_cast<blkcnt_t>(kRanges * kBlock / 512));
}

TEST_P(EngineDiskTest, MoreOperationsThanTheRingHolds) {
    constexpr std::size_t kCount = 6000;
    const Fd fd = open_file("many", O_RDWR | O_CREAT);
    std::vector<std::uint32_t> numbers(kCount), in(kCount);
    std::ranges::generate(numbers, [next = 0U]() mutable { return next++; });
    CHECK(::pwrite(fd.get(), numbers.data(), kCount * 4, 0) == kCount * 4);
    const Handle file = attach(fd);
    std::vector<Outcome> outcomes(kCount);
    for (std::size_t i = 0; i < kCount; ++i)
        engine_->read(file, std::as_writable_bytes(std::span(in)).subspan(i * 4, 4), i * 4,
                      outcomes[i].done);
    EXPECT_EQ(engine_->in_flight(), kCount);
    drain();
    EXPECT_EQ(in, numbers);
    for (const Outcome& outcome : outcomes) {
        EXPECT_EQ(outcome.count, 1);
        EXPECT_EQ(outcome.result, 4);
    }
}

TEST_P(EngineDiskTest, ManyDirectReadsAtOnce) {
    constexpr std::size_t kCount = 2000;
    const Fd fd = direct_file(kCount * 4096);
    BufferPool pool(kCount, 4096);
    engine_->register_buffers(pool);
    const Handle file = attach(fd);
    std::vector<Buffer*> buffers;
    std::vector<Outcome> outcomes(kCount);
    for (std::size_t i = 0; i < kCount; ++i) {
        buffers.push_back(pool.take());
        fill_noise(buffers[i]->bytes().first(8), static_cast<unsigned>(i));
        engine_->write(file, buffers[i]->bytes(), i * 4096, outcomes[i].done);
    }
    drain();
    for (std::size_t i = 0; i < kCount; ++i) {
        EXPECT_EQ(outcomes[i].result, 4096);
        std::ranges::fill(buffers[i]->bytes().first(8), std::byte{0});
        engine_->read(file, buffers[i]->bytes(), i * 4096, outcomes[i].done);
    }
    drain();
    for (std::size_t i = 0; i < kCount; ++i) {
        std::array<std::byte, 8> expected{};
        fill_noise(expected, static_cast<unsigned>(i));
        EXPECT_TRUE(std::ranges::equal(buffers[i]->bytes().first(8), expected)) << i;
        pool.give(buffers[i]);
    }
}

// An index is used again: what was begun on the old file must not reach the new one.
TEST_P(EngineDiskTest, HandlesAreUsedAgain) {
    for (int round = 0; round < 600; ++round) {
        const Fd fd = open_file("again" + std::to_string(round % 3), O_RDWR | O_CREAT | O_TRUNC);
        const Handle file = attach(fd);
        EXPECT_EQ(write_now(file, std::as_bytes(std::span(&round, 1)), 0), 4);
        int back = -1;
        CHECK(::pread(fd.get(), &back, 4, 0) == 4);
        EXPECT_EQ(back, round);
        engine_->detach(file);
    }
}

TEST_P(EngineDiskTest, MoreFilesThanTheRingRegisters) {
    std::vector<Fd> fds;
    std::vector<Handle> handles;
    for (int i = 0; i < 300; ++i) {
        fds.push_back(open_file("file" + std::to_string(i), O_RDWR | O_CREAT));
        handles.push_back(attach(fds.back()));
    }
    for (int i = 0; i < 300; ++i)
        EXPECT_EQ(
            write_now(handles[static_cast<std::size_t>(i)], std::as_bytes(std::span(&i, 1)), 0), 4);
    for (int i = 0; i < 300; ++i) {
        int back = -1;
        EXPECT_EQ(::pread(fds[static_cast<std::size_t>(i)].get(), &back, 4, 0), 4);
        EXPECT_EQ(back, i);
    }
}

TOWLINE_OVER_ENGINES(EngineDiskTest);
TOWLINE_OVER_ENGINES(EngineZeroTest);

}  // namespace
}  // namespace towline
