// SPDX-License-Identifier: Apache-2.0
// The map against a vector<bool> that says what it should hold, and its saved form against damage:
// a mark lost here is a change lost.

#include "cbt/change_map.hpp"

#include <algorithm>
#include <cstring>
#include <random>

#include <gtest/gtest.h>

#include "cbt/change_map_format.hpp"
#include "io/checksum.hpp"

namespace towline {
namespace {

namespace format = change_map_format;
using Random = std::mt19937_64;

// The map as the slowest and plainest code would have it.
struct Model {
    std::uint64_t volume_bytes;
    std::uint32_t block_bytes;
    std::vector<bool> marks;

    explicit Model(const ChangeMap& map)
        : volume_bytes(map.volume_bytes()),
          block_bytes(map.block_bytes()),
          marks(map.block_count()) {}

    void mark(Extent extent) {
        for (std::uint64_t block = 0; block < marks.size(); ++block) {
            const std::uint64_t begin = block * block_bytes;
            const std::uint64_t end = std::min(begin + block_bytes, volume_bytes);
            if (extent.length_bytes > 0 && extent.offset_bytes < end &&
                extent.end_bytes() > begin) {
                marks[block] = true;
            }
        }
    }
    void set(BlockRun run, bool value) {
        for (auto block = run.first; block < run.end(); ++block)
            marks[block] = value;
    }
    std::uint64_t bytes() const {
        std::uint64_t total = 0;
        for (std::uint64_t block = 0; block < marks.size(); ++block) {
            const std::uint64_t begin = block * block_bytes;
            if (marks[block]) total += std::min<std::uint64_t>(block_bytes, volume_bytes - begin);
        }
        return total;
    }
    bool holds(BlockRun run, bool value) const {
        const auto begin = marks.begin() + static_cast<std::ptrdiff_t>(run.first);
        return std::find(begin, begin + static_cast<std::ptrdiff_t>(run.count), value) !=
               begin + static_cast<std::ptrdiff_t>(run.count);
    }
};

ChangeMap random_geometry(Random& random) {
    const std::uint32_t block_bytes = 512u << random() % 4;
    return ChangeMap(random() % (block_bytes * 400), block_bytes);
}

BlockRun random_run(Random& random, std::uint64_t block_count) {
    const std::uint64_t first = random() % (block_count + 1);
    return {first, random() % (block_count - first + 1)};
}

void scribble(Random& random, ChangeMap& map, Model& model) {
    for (std::uint64_t steps = random() % 30; steps > 0; --steps) {
        const BlockRun run = random_run(random, map.block_count());
        const std::uint64_t length = random() % 2 ? random() % 4096 : random() % 100'000;
        const Extent extent{random() % (map.volume_bytes() + 1000), length};
        switch (random() % 3) {
            case 0:
                map.mark(extent);
                model.mark(extent);
                break;
            case 1:
                map.mark_blocks({run.first, std::min<std::uint64_t>(run.count, 70)});
                model.set({run.first, std::min<std::uint64_t>(run.count, 70)}, true);
                break;
            default:
                map.clear_blocks(run);
                model.set(run, false);
        }
    }
}

ChangeMap random_map(Random& random) {
    ChangeMap map = random_geometry(random);
    Model model(map);
    scribble(random, map, model);
    return map;
}

void expect_same(const ChangeMap& map, const Model& model, std::uint64_t seed) {
    for (std::uint64_t block = 0; block < model.marks.size(); ++block) {
        ASSERT_EQ(map.test(block), model.marks[block]) << "seed " << seed << " block " << block;
    }
    const auto count = static_cast<std::uint64_t>(std::ranges::count(model.marks, true));
    ASSERT_EQ(map.marked_blocks(), count) << "seed " << seed;
    ASSERT_EQ(map.empty(), count == 0) << "seed " << seed;
    ASSERT_EQ(map.marked_bytes(), model.bytes()) << "seed " << seed;
}

TEST(ChangeMap, DoesWhatTheModelDoes) {
    for (std::uint64_t seed = 0; seed < 400; ++seed) {
        Random random(seed);
        ChangeMap map = random_geometry(random);
        Model model(map);
        scribble(random, map, model);
        expect_same(map, model, seed);
        for (int n = 0; n < 20; ++n) {
            const BlockRun run = random_run(random, map.block_count());
            ASSERT_EQ(map.all_set(run), !model.holds(run, false)) << "seed " << seed;
            ASSERT_EQ(map.any_set(run), model.holds(run, true)) << "seed " << seed;
        }
    }
}

TEST(ChangeMap, RunsAreTheMarksAndNothingElse) {
    for (std::uint64_t seed = 0; seed < 400; ++seed) {
        Random random(seed);
        const ChangeMap map = random_map(random);
        const std::uint64_t count_max = random() % 2 ? UINT64_MAX : 1 + random() % 90;
        std::vector<bool> seen(map.block_count());
        std::uint64_t at = 0;
        for (auto run = map.next_run(0, count_max); run; run = map.next_run(at, count_max)) {
            ASSERT_GE(run->first, at) << "seed " << seed;
            ASSERT_TRUE(run->count > 0 && run->count <= count_max) << "seed " << seed;
            const bool cut = run->count == count_max || run->end() == map.block_count();
            ASSERT_TRUE(cut || !map.test(run->end())) << "seed " << seed << ": a run cut short";
            for (auto block = run->first; block < run->end(); ++block)
                seen[block] = true;
            at = run->end();
        }
        for (std::uint64_t block = 0; block < map.block_count(); ++block) {
            ASSERT_EQ(seen[block], map.test(block)) << "seed " << seed << " block " << block;
        }
        ASSERT_FALSE(map.next_run(map.block_count()));
        ASSERT_FALSE(map.next_run(UINT64_MAX));
    }
}

TEST(ChangeMap, MergesAndSubtractsBlockByBlock) {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        Random random(seed);
        ChangeMap left = random_geometry(random);
        ChangeMap right(left.volume_bytes(), left.block_bytes());
        Model left_model(left);
        Model right_model(right);
        scribble(random, left, left_model);
        scribble(random, right, right_model);
        Model both = left_model;
        Model only_left = left_model;
        for (std::uint64_t block = 0; block < left.block_count(); ++block) {
            both.marks[block] = left_model.marks[block] || right_model.marks[block];
            only_left.marks[block] = left_model.marks[block] && !right_model.marks[block];
        }
        ChangeMap merged = left;
        merged.merge(right);
        expect_same(merged, both, seed);
        left.subtract(right);
        expect_same(left, only_left, seed);
    }
}

TEST(ChangeMap, ResamplingRoundsOutwardAndDropsWhatIsPastTheEnd) {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        Random random(seed);
        const ChangeMap map = random_map(random);
        const std::uint32_t block_bytes = 512u << random() % 6;
        const std::uint64_t volume_bytes =
            random() % 2 ? map.volume_bytes() : random() % (map.volume_bytes() * 2 + 1);
        const ChangeMap other = map.resampled(volume_bytes, block_bytes);
        Model model(other);
        for (auto run = map.next_run(0, 1); run; run = map.next_run(run->end(), 1)) {
            model.mark(map.extent_of(*run));
        }
        expect_same(other, model, seed);
    }
}

TEST(ChangeMap, TheLastBlockEndsWhereTheVolumeDoes) {
    ChangeMap map(3 * 4096 + 1, 4096);
    map.mark_all();
    EXPECT_EQ(map.block_count(), 4u);
    EXPECT_EQ(map.marked_bytes(), 3u * 4096 + 1);
    EXPECT_EQ(map.extent_of({3, 1}), (Extent{12288, 1}));
    EXPECT_EQ(map.extent_of({0, 4}), (Extent{0, 12289}));
    map.clear_blocks({3, 1});
    EXPECT_EQ(map.marked_bytes(), 3u * 4096);
}

TEST(ChangeMap, AnExtentThatOverflowsIsCutAtTheEnd) {
    ChangeMap map(1 << 20, 4096);
    map.mark({4096 * 255, UINT64_MAX});
    EXPECT_EQ(map.next_run(0), (BlockRun{255, 1}));
    map.mark({UINT64_MAX, UINT64_MAX});
    EXPECT_EQ(map.marked_blocks(), 1u);
}

TEST(ChangeMap, DigestsTellMarksAndGeometryApart) {
    ChangeMap map(1 << 20, 4096);
    const std::uint64_t clear = map.digest();
    EXPECT_NE(clear, ChangeMap(1 << 20, 8192).digest());
    EXPECT_NE(clear, ChangeMap((1 << 20) - 1, 4096).digest());
    map.mark_blocks({200, 1});
    EXPECT_NE(clear, map.digest());
    ChangeMap again(1 << 20, 4096);
    again.mark({200 * 4096 + 7, 1});
    EXPECT_EQ(again.digest(), map.digest());
    // A resumed run compares it with what another build computed: it may not change.
    EXPECT_EQ(map.digest(), 6230679514582635751u);
}

TEST(SavedChangeMap, ComesBackAsItWas) {
    for (std::uint64_t seed = 0; seed < 400; ++seed) {
        Random random(seed);
        ChangeMap map = random_map(random);
        if (seed % 5 == 0) map.mark_all();
        if (seed % 7 == 0) map.clear_all();
        const auto saved = map.save();
        const auto loaded = ChangeMap::load(saved);
        ASSERT_TRUE(loaded) << "seed " << seed << ": " << loaded.error().text();
        ASSERT_EQ(*loaded, map) << "seed " << seed;
        ASSERT_LE(saved.size(), map.memory_bytes() + 52) << "seed " << seed;
    }
    EXPECT_EQ(*ChangeMap::load(ChangeMap().save()), ChangeMap());
}

TEST(SavedChangeMap, IsSmallWhenSparseWhateverTheVolume) {
    ChangeMap map(std::uint64_t{64} << 40, 64 << 10);
    map.mark({std::uint64_t{63} << 40, 1});
    map.mark({5, 3 << 20});
    const auto saved = map.save();
    EXPECT_LT(saved.size(), 70u);
    EXPECT_EQ(*ChangeMap::load(saved), map);
}

// One map whose saved form has runs, and one whose form has words.
std::vector<ChangeMap> maps_of_both_forms() {
    ChangeMap sparse(100 * 4096 + 5, 4096);
    sparse.mark_blocks({3, 2});
    sparse.mark_blocks({90, 11});
    ChangeMap dense(100 * 4096 + 5, 4096);
    for (std::uint64_t block = 0; block < 100; block += 2)
        dense.mark_blocks({block, 1});
    return {sparse, dense};
}

Code load_code(ByteSpan saved) {
    const auto loaded = ChangeMap::load(saved);
    EXPECT_FALSE(loaded);
    return loaded ? Code::kIo : loaded.error().code;
}

TEST(SavedChangeMap, EveryBitOfItIsGuarded) {
    for (const ChangeMap& map : maps_of_both_forms()) {
        auto saved = map.save();
        for (std::size_t at = 0; at < saved.size(); ++at) {
            for (unsigned bit = 0; bit < 8; ++bit) {
                saved[at] ^= std::byte{1} << bit;
                ASSERT_EQ(load_code(saved), Code::kCorrupt) << "byte " << at;
                saved[at] ^= std::byte{1} << bit;
            }
        }
        ASSERT_TRUE(ChangeMap::load(saved));
    }
}

TEST(SavedChangeMap, IsRefusedAtEveryOtherLength) {
    for (const ChangeMap& map : maps_of_both_forms()) {
        auto saved = map.save();
        for (std::size_t length = 0; length < saved.size(); ++length) {
            ASSERT_EQ(load_code(ByteSpan(saved).first(length)), Code::kCorrupt) << length;
        }
        saved.push_back(std::byte{0});
        EXPECT_EQ(load_code(saved), Code::kCorrupt);
    }
}

// A writer that means harm gets its CRC right.
void reseal(std::vector<std::byte>& saved) {
    const ByteSpan covered = ByteSpan(saved).first(saved.size() - format::kTrailerBytes);
    store_le(saved.data() + covered.size(), crc32c(covered));
}

template <typename T>
std::vector<std::byte> with_field(const ChangeMap& map, std::size_t at, T value) {
    auto saved = map.save();
    store_le(saved.data() + at, value);
    reseal(saved);
    return saved;
}

TEST(SavedChangeMap, FieldsOutOfBoundsAreRefusedWithTheirCrcRight) {
    for (const ChangeMap& map : maps_of_both_forms()) {
        EXPECT_EQ(load_code(with_field(map, 8, std::uint32_t{0})), Code::kCorrupt);
        EXPECT_EQ(load_code(with_field(map, 12, std::uint32_t{2})), Code::kCorrupt);
        for (const std::uint32_t block_bytes : {0u, 1u, 256u, 4097u, 1u << 27, 1u << 31}) {
            EXPECT_EQ(load_code(with_field(map, 16, block_bytes)), Code::kCorrupt) << block_bytes;
        }
        EXPECT_EQ(load_code(with_field(map, 20, std::uint32_t{1})), Code::kCorrupt);
        EXPECT_EQ(load_code(with_field(map, 24, UINT64_MAX)), Code::kCorrupt);
        // 2^60 bytes in blocks of 4 KiB would be a map of 32 TiB.
        EXPECT_EQ(load_code(with_field(map, 24, std::uint64_t{1} << 60)), Code::kCorrupt);
        EXPECT_EQ(load_code(with_field(map, 24, std::uint64_t{90 * 4096})), Code::kCorrupt);
        for (const std::uint64_t count : {std::uint64_t{1}, std::uint64_t{3}, UINT64_MAX}) {
            EXPECT_EQ(load_code(with_field(map, 32, count)), Code::kCorrupt) << count;
            EXPECT_EQ(load_code(with_field(map, 40, count)), Code::kCorrupt) << count;
        }
    }
}

TEST(SavedChangeMap, AnyBodyIsRefusedOrIsOneThatItHolds) {
    for (const ChangeMap& map : maps_of_both_forms()) {
        for (std::uint64_t seed = 0; seed < 3000; ++seed) {
            Random random(seed);
            auto saved = map.save();
            const std::size_t body_bytes =
                saved.size() - format::kHeaderBytes - format::kTrailerBytes;
            saved[format::kHeaderBytes + random() % body_bytes] = std::byte(random() & 0xff);
            reseal(saved);
            const auto loaded = ChangeMap::load(saved);
            if (loaded) {
                ASSERT_EQ(loaded->marked_blocks(), map.marked_blocks()) << "seed " << seed;
            } else {
                ASSERT_EQ(loaded.error().code, Code::kCorrupt) << "seed " << seed;
            }
        }
    }
}

// The saved form of 200 blocks with this body, whose header tells the truth of it.
std::vector<std::byte> with_runs(std::initializer_list<unsigned> varints, std::uint64_t run_count,
                                 std::uint64_t marked_blocks) {
    auto saved = ChangeMap(200 * 4096, 4096).save();
    saved.resize(format::kHeaderBytes);
    for (const unsigned byte : varints)
        saved.push_back(std::byte(byte));
    saved.resize(saved.size() + format::kTrailerBytes);
    store_le(saved.data() + 32, run_count);
    store_le(saved.data() + 40, marked_blocks);
    reseal(saved);
    return saved;
}

TEST(SavedChangeMap, RunsHaveOneForm) {
    EXPECT_TRUE(ChangeMap::load(with_runs({0, 2, 1, 3}, 2, 5)));
    EXPECT_TRUE(ChangeMap::load(with_runs({0x80, 1, 72}, 1, 72)));
    EXPECT_EQ(load_code(with_runs({0, 2, 0, 3}, 2, 5)), Code::kCorrupt) << "joined";
    EXPECT_EQ(load_code(with_runs({0, 0}, 1, 0)), Code::kCorrupt) << "empty";
    EXPECT_EQ(load_code(with_runs({0, 2, 9}, 1, 2)), Code::kCorrupt) << "something behind";
    EXPECT_EQ(load_code(with_runs({0x80, 0, 2}, 1, 2)), Code::kCorrupt) << "long varint";
    EXPECT_EQ(load_code(with_runs({0x80, 1, 73}, 1, 73)), Code::kCorrupt) << "past the end";
    EXPECT_EQ(load_code(with_runs({0, 1, 0x80}, 2, 1)), Code::kCorrupt) << "cut off";
    EXPECT_EQ(load_code(with_runs({0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2}, 1,
                                  UINT64_MAX)),
              Code::kCorrupt)
        << "66 bits";
}

TEST(SavedChangeMap, ANewerFormSaysThatItIsNewer) {
    const auto saved = with_field(maps_of_both_forms().front(), 8, format::kVersion + 1);
    const auto loaded = ChangeMap::load(saved);
    ASSERT_FALSE(loaded);
    EXPECT_EQ(loaded.error().code, Code::kUnsupported);
    EXPECT_NE(loaded.error().context.find("made by a newer Towline"), std::string::npos);
}

}  // namespace
}  // namespace towline
