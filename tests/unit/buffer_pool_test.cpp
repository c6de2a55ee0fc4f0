// SPDX-License-Identifier: Apache-2.0
// The pool is the bound on blocks in flight: it must give what it has, apart from one another, and
// no more.

#include "io/buffer_pool.hpp"

#include <algorithm>
#include <cstdint>
#include <set>

#include <gtest/gtest.h>

namespace towline {
namespace {

TEST(BufferPoolTest, GivesEachBufferOnceAndThenNone) {
    BufferPool pool(5, 8192);
    EXPECT_EQ(pool.free_count(), 5U);
    std::set<std::byte*> taken;
    std::vector<Buffer*> buffers;
    while (Buffer* buffer = pool.take()) {
        buffers.push_back(buffer);
        taken.insert(buffer->data());
    }
    EXPECT_EQ(buffers.size(), 5U);
    EXPECT_EQ(taken.size(), 5U);
    EXPECT_EQ(pool.free_count(), 0U);
    EXPECT_EQ(pool.take(), nullptr);
    for (Buffer* buffer : buffers)
        pool.give(buffer);
    EXPECT_EQ(pool.free_count(), 5U);
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

// Memory that is still in the cache is used first.
TEST(BufferPoolTest, LastGivenIsFirstTaken) {
    BufferPool pool(3, 4096);
    Buffer* first = pool.take();
    Buffer* second = pool.take();
    pool.give(first);
    pool.give(second);
    EXPECT_EQ(pool.take(), second);
    EXPECT_EQ(pool.take(), first);
    pool.give(first);
    pool.give(second);
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
