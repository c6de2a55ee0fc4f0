// SPDX-License-Identifier: Apache-2.0
// The run digest must not see the order, and must see everything else.

#include "userspace/engine/run_digest.hpp"

#include <algorithm>

#include <gtest/gtest.h>

#include "io/simulated_random.hpp"

namespace towline {
namespace {

struct Record {
    RecordKind kind;
    std::uint64_t offset;
    std::uint64_t length;
    Hash128 hash;
};

const BlockHasher kHasher{BlockHasher::Seed{std::byte{1}}};

RunDigest digest_of(const std::vector<Record>& records, const BlockHasher& hasher = kHasher) {
    RunDigester digester(hasher);
    for (const Record& each : records)
        digester.add(each.kind, each.offset, each.length, each.hash);
    return digester.value();
}

std::vector<Record> some_records() {
    std::vector<Record> records;
    records.reserve(50);
    for (std::uint64_t i = 0; i < 50; ++i)
        records.push_back({RecordKind::kBlock, i * 4096, 4096, {i, ~i}});
    return records;
}

TEST(RunDigest, OrderDoesNotMatter) {
    std::vector<Record> records = some_records();
    const RunDigest digest = digest_of(records);
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        SimulatedRandom random(seed);
        for (std::size_t i = records.size() - 1; i > 0; --i)
            std::swap(records[i], records[random.below(i + 1)]);
        EXPECT_EQ(digest_of(records), digest);
    }
}

TEST(RunDigest, EverythingElseDoes) {
    const std::vector<Record> records = some_records();
    const RunDigest digest = digest_of(records);
    const auto differs = [&](auto change) {
        std::vector<Record> changed = records;
        change(changed);
        const RunDigest other = digest_of(changed);
        // The sum itself, not the count alone.
        return other.low != digest.low && other.high != digest.high;
    };
    EXPECT_TRUE(differs([](auto& r) { r.pop_back(); }));                     // missing
    EXPECT_TRUE(differs([](auto& r) { r.push_back(r[3]); }));                // doubled
    EXPECT_TRUE(differs([](auto& r) { r[3] = r[4]; }));                      // in another's place
    EXPECT_TRUE(differs([](auto& r) { r[3].offset += 4096 * 50; }));         // moved
    EXPECT_TRUE(differs([](auto& r) { std::swap(r[3].hash, r[4].hash); }));  // exchanged
    EXPECT_TRUE(differs([](auto& r) { r[3].length = 512; }));
    EXPECT_TRUE(differs([](auto& r) { r[3].kind = RecordKind::kZeros; }));
    EXPECT_TRUE(differs([](auto& r) { r[3].hash.low ^= 1; }));
    EXPECT_TRUE(differs([](auto& r) { r[3].hash.high ^= 1; }));
    EXPECT_NE(digest_of(records, BlockHasher(BlockHasher::Seed{})), digest);
}

// The carry from the low half: the sum is of 128 bits.
TEST(RunDigest, SumsInAllBits) {
    const std::vector<Record> records = some_records();
    RunDigest sum;
    __extension__ using Wide = unsigned __int128;
    Wide wide = 0;
    for (const Record& each : records) {
        const RunDigest one = digest_of({each});
        wide += static_cast<Wide>(one.high) << 64 | one.low;
    }
    sum = {static_cast<std::uint64_t>(wide), static_cast<std::uint64_t>(wide >> 64), 50};
    EXPECT_EQ(digest_of(records), sum);
}

TEST(RunDigest, ComparedPiecesLeaveARecordAHashOrOneForARunOfZeros) {
    RunDigester digester(kHasher);
    add_compared(digester, {.first_block = 4, .hashes = {{1, 2}, {3, 4}}}, {4 * 4096, 2 * 4096});
    add_compared(digester, {.first_block = 6, .zero_count = 9}, {6 * 4096, 9 * 4096});
    EXPECT_EQ(digester.value(), digest_of({{RecordKind::kCompared, 5, 1, {3, 4}},
                                           {RecordKind::kCompared, 4, 1, {1, 2}},
                                           {RecordKind::kCompared, 6 * 4096, 9 * 4096, {}}}));
}

}  // namespace
}  // namespace towline
