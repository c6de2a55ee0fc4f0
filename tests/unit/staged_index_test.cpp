// SPDX-License-Identifier: Apache-2.0
// What of a run is staged, as a file: whole or not at all, whatever is cut off or damaged.

#include "userspace/engine/staged_index.hpp"

#include <algorithm>

#include <gtest/gtest.h>

#include "tests/unit/memory_stores.hpp"
#include "userspace/engine/staged_format.hpp"

namespace towline {
namespace {

using testing::uuid_of;
using Bytes = std::vector<std::byte>;

class File final : public StagedFile {
  public:
    explicit File(Bytes& bytes) : bytes_(bytes) {}
    Result<std::uint64_t> size_bytes() const override { return bytes_.size(); }
    Result<Bytes> read(std::uint64_t offset, std::size_t length) const override {
        const std::size_t begin = std::min<std::size_t>(offset, bytes_.size());
        const std::size_t end = std::min(begin + length, bytes_.size());
        return Bytes(bytes_.begin() + static_cast<std::ptrdiff_t>(begin),
                     bytes_.begin() + static_cast<std::ptrdiff_t>(end));
    }
    Status write(std::uint64_t offset, ByteSpan bytes) override {
        bytes_.resize(std::max<std::size_t>(bytes_.size(), offset + bytes.size()));
        std::ranges::copy(bytes, bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
        return {};
    }
    Status empty() override {
        bytes_.clear();
        return {};
    }

  private:
    Bytes& bytes_;
};

const Uuid kRun = uuid_of(1);

StagedBatch batch_of(std::uint64_t block, std::uint64_t place) {
    StagedBatch batch{.block_bytes = 4096};
    batch.entries.push_back({.extent = {block * 4096, 8192}, .place_bytes = place});
    batch.crcs = {11, 12};
    batch.add_zeros({(block + 9) * 4096, 4096ULL << 20});
    return batch;
}

Result<StagedIndex> open(Bytes& bytes, const Uuid& run = kRun) {
    return StagedIndex::open(std::make_unique<File>(bytes), run);
}

// Two batches, and the end.
Bytes written(bool finished = true) {
    Bytes bytes;
    auto index = StagedIndex::create(std::make_unique<File>(bytes), kRun);
    EXPECT_TRUE(index->append(batch_of(1, 1 << 20)));
    EXPECT_TRUE(index->append(batch_of(3, (1 << 20) + 8192)));
    if (finished) {
        EXPECT_TRUE(index->finish());
    }
    return bytes;
}

std::size_t entries_of(const StagedIndex& index) {
    std::size_t count = 0;
    std::uint64_t cursor = 0;
    for (;;) {
        const auto batch = index.read(cursor);
        if (!batch || !*batch) return count;
        count += (*batch)->entries.size();
    }
}

TEST(StagedIndex, ComesBackAsItWasWritten) {
    Bytes bytes = written();
    const auto index = open(bytes);
    ASSERT_TRUE(index);
    EXPECT_TRUE(index->finished());
    EXPECT_EQ(index->places_end_bytes(), (1U << 20) + 16384);
    std::uint64_t cursor = 0;
    const auto batch = index->read(cursor);
    ASSERT_TRUE(batch && *batch);
    EXPECT_EQ((*batch)->crcs, (std::vector<std::uint32_t>{11, 12}));
    EXPECT_EQ((*batch)->entries[0].extent, (Extent{4096, 8192}));
    EXPECT_TRUE((*batch)->entries[1].zeros());
    EXPECT_EQ(entries_of(*index), 4U);
}

// A crash: never acknowledged, and the next batch is written over it.
TEST(StagedIndex, CutOffAnywhereItEndsWithTheLastWholeBatch) {
    const Bytes whole = written();
    const std::size_t first_end = [] {
        Bytes bytes;
        auto index = StagedIndex::create(std::make_unique<File>(bytes), kRun);
        EXPECT_TRUE(index->append(batch_of(1, 1 << 20)));
        return bytes.size();
    }();
    for (std::size_t length = staged_format::kHeaderBytes; length < whole.size(); ++length) {
        Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
        auto index = open(cut);
        ASSERT_TRUE(index) << length;
        EXPECT_FALSE(index->finished()) << length;
        const std::size_t entries = entries_of(*index);
        EXPECT_EQ(entries, length < first_end ? 0U : length < written(false).size() ? 2U : 4U);
        ASSERT_TRUE(index->append(batch_of(30, index->places_end_bytes())));
        ASSERT_TRUE(index->finish());
        const auto again = open(cut);
        ASSERT_TRUE(again && again->finished()) << length;
        EXPECT_EQ(entries_of(*again), entries + 2);
    }
}

TEST(StagedIndex, EveryFlippedBitIsNoticed) {
    const Bytes whole = written();
    for (std::size_t at = 0; at < whole.size(); ++at) {
        for (int bit = 0; bit < 8; ++bit) {
            Bytes damaged = whole;
            damaged[at] ^= static_cast<std::byte>(1 << bit);
            const auto index = open(damaged);
            EXPECT_FALSE(index && index->finished()) << at;
        }
    }
}

TEST(StagedIndex, AnotherRunsIsNone) {
    Bytes bytes = written();
    const auto index = open(bytes, uuid_of(2));
    ASSERT_FALSE(index);
    EXPECT_EQ(index.error().code, Code::kCorrupt);
    Bytes nothing;
    EXPECT_FALSE(open(nothing));
}

// A session that is resumed writes behind the end of the one before.
TEST(StagedIndex, AnEndIsNoneOnceMoreCame) {
    Bytes bytes = written();
    auto index = open(bytes);
    ASSERT_TRUE(index && index->append(batch_of(50, index->places_end_bytes())));
    EXPECT_FALSE(index->finished());
    EXPECT_FALSE(open(bytes)->finished());
    EXPECT_EQ(entries_of(*open(bytes)), 6U);
    ASSERT_TRUE(index->finish());
    EXPECT_TRUE(open(bytes)->finished());
    EXPECT_EQ(open(bytes)->extents()->front().offset_bytes, 4096U);
}

}  // namespace
}  // namespace towline
