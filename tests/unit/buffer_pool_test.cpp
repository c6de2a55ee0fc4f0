// SPDX-License-Identifier: Apache-2.0
// The pool is the bound on blocks in flight: it must give what it has, apart from one another, and
// no more.

#include "io/buffer_pool.hpp"

#include <algorithm>
#include <cstdint>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace towline {
namespace {

TEST(BufferPoolTest, GivesEachBufferOnceAndThenNone) {
    BufferPool pool(5, 8192);
    std::set<std::byte*> taken;
    std::vector<Buffer*> buffers;
    while (Buffer* buffer = pool.take()) {
        buffers.push_back(buffer);
        taken.insert(buffer->data());
    }
    EXPECT_EQ(buffers.size(), 5U);
    EXPECT_EQ(taken.size(), 5U);
    EXPECT_EQ(pool.take(), nullptr);
    for (Buffer* buffer : buffers)
        pool.give(buffer);
}

TEST(BufferPoolTest, BuffersAreAlignedAndDoNotOverlap) {
    BufferPool pool(7, 4096 * 3);
    std::vector<Buffer*> buffers;
    while (Buffer* buffer = pool.take()) {
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer->data()) % BufferPool::kAlignmentBytes,
                  0U);
        EXPECT_EQ(buffer->capacity_bytes(), 4096U * 3);
        EXPECT_GE(buffer->data(), pool.arena().data());
        EXPECT_LE(buffer->data() + buffer->capacity_bytes(),
                  pool.arena().data() + pool.arena().size());
        std::ranges::fill(buffer->bytes(), static_cast<std::byte>(buffers.size() + 1));
        buffers.push_back(buffer);
    }
    for (std::size_t i = 0; i < buffers.size(); ++i) {
        const auto expected = static_cast<std::byte>(i + 1);
        EXPECT_TRUE(
            std::ranges::all_of(buffers[i]->bytes(), [&](std::byte b) { return b == expected; }));
        pool.give(buffers[i]);
    }
}

// Little memory for little data: it stays in the cache.
TEST(BufferPoolTest, SmallBuffersLieCloseTogetherFromTheFrontOn) {
    BufferPool pool(64, 256 << 10);
    std::vector<Buffer*> buffers;
    for (std::size_t i = 0; i < 8; ++i) {
        buffers.push_back(pool.take(60'000));
        EXPECT_EQ(buffers.back()->capacity_bytes(), 65'536U);
        EXPECT_EQ(buffers.back()->data(), pool.arena().data() + i * 65'536);
    }
    std::byte* const third = buffers[2]->data();
    pool.give(buffers[2]);
    Buffer* large = pool.take();
    EXPECT_EQ(large->data(), pool.arena().data() + 8 * 65'536);
    buffers[2] = pool.take(1);
    EXPECT_EQ(buffers[2]->data(), third);
    EXPECT_EQ(buffers[2]->capacity_bytes(), 16'384U);
    pool.give(large);
    for (Buffer* buffer : buffers)
        pool.give(buffer);
}

TEST(BufferPoolTest, NeverMoreAreOutThanItsCount) {
    BufferPool pool(3, 256 << 10);
    Buffer* buffers[] = {pool.take(1), pool.take(1), pool.take(1)};
    EXPECT_EQ(pool.take(1), nullptr);
    for (Buffer* buffer : buffers)
        pool.give(buffer);
}

// Whatever was taken in whatever order: once all is back, all of it can be had again.
TEST(BufferPoolTest, MixedSizesNeverOverlapAndComeBackWhole) {
    BufferPool pool(37, 40 << 10);
    std::mt19937 random(5);
    std::vector<Buffer*> out;
    for (unsigned round = 0; round < 20'000; ++round) {
        const bool taking = random() % 3 != 0;
        Buffer* buffer = taking ? pool.take(random() % (40 << 10)) : nullptr;
        if (buffer != nullptr) {
            const auto overlaps = [&](const Buffer* other) {
                return buffer->data() < other->data() + other->capacity_bytes() &&
                       other->data() < buffer->data() + buffer->capacity_bytes();
            };
            ASSERT_TRUE(std::ranges::none_of(out, overlaps));
            ASSERT_LE(buffer->data() + buffer->capacity_bytes(),
                      pool.arena().data() + pool.arena().size());
            out.push_back(buffer);
        } else if (!out.empty()) {
            std::swap(out[random() % out.size()], out.back());
            pool.give(out.back());
            out.pop_back();
        }
    }
    for (Buffer* buffer : out)
        pool.give(buffer);
    out.clear();
    while (Buffer* buffer = pool.take())
        out.push_back(buffer);
    EXPECT_EQ(out.size(), 37U);
    for (Buffer* buffer : out)
        pool.give(buffer);
}

TEST(BufferPoolTest, MemoryFromAShelfGoesBackThere) {
    ArenaShelf shelf(1);
    std::byte* first = nullptr;
    {
        BufferPool pool(4, 4096, &shelf);
        first = pool.arena().data();
        BufferPool beside(4, 4096, &shelf);
        EXPECT_NE(beside.arena().data(), first);
    }
    BufferPool other_size(5, 4096, &shelf);
    EXPECT_NE(other_size.arena().data(), first);
    BufferPool again(4, 4096, &shelf);
    EXPECT_EQ(again.arena().data(), first);
}

TEST(BufferPoolDeathTest, ABufferGivenTwiceIsABug) {
    BufferPool pool(1, 4096);
    Buffer* buffer = pool.take();
    pool.give(buffer);
    EXPECT_DEATH(pool.give(buffer), "bug at");
}

TEST(BufferPoolDeathTest, ABufferThatWasNotGivenBackIsABug) {
    EXPECT_DEATH(
        {
            BufferPool pool(1, 4096);
            pool.take();
        },
        "bug at");
}

TEST(BufferPoolDeathTest, ABufferOfAnotherPoolIsABug) {
    BufferPool pool(1, 4096), other(1, 4096);
    Buffer* buffer = other.take();
    EXPECT_DEATH(pool.give(buffer), "bug at");
    other.give(buffer);
}

}  // namespace
}  // namespace towline
