// SPDX-License-Identifier: Apache-2.0
// Volumes side by side: no block and no read is of two, whatever the sizes and the block size.

#include "userspace/engine/volume_layout.hpp"

#include <gtest/gtest.h>

#include "memory_stores.hpp"

namespace towline::testing {
namespace {

using Volumes = std::vector<VolumesMessage::Volume>;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

}  // namespace

TEST(VolumeLayout, OneVolumeIsAsLongAsItIs) {
    const auto layout = VolumeLayout::of_one(uuid_of(1), 12'345);
    EXPECT_EQ(layout.size_bytes(), 12'345U);
    EXPECT_FALSE(layout.message().has_value());
    EXPECT_TRUE(layout.text().empty());
    EXPECT_EQ(layout.check().of(std::vector<std::byte>(10), 4096),
              BlockCheck(uuid_of(1)).of(std::vector<std::byte>(10), 4096));
}

TEST(VolumeLayout, NoBlockIsOfTwoVolumes) {
    for (const std::uint64_t first : {kMiB, kMiB + 1, kMiB - 4096, std::uint64_t{5}, 3 * kMiB}) {
        const auto layout = VolumeLayout::of({{"a", uuid_of(1), first}, {"b", uuid_of(2), 100}});
        ASSERT_TRUE(layout);
        const VolumePart& second = layout->parts()[1];
        for (std::uint64_t block = 4096; block <= kMiB; block *= 2) {
            EXPECT_EQ(second.start_bytes % block, 0U);
            const std::uint64_t behind = (first + block - 1) / block * block;
            EXPECT_GE(second.start_bytes, behind + block);  // a whole block between them
        }
        const auto gaps = layout->gaps();
        ASSERT_EQ(gaps.size(), 1U);
        EXPECT_EQ(gaps[0].end_bytes(), second.start_bytes);
        EXPECT_EQ(layout->size_bytes(), second.start_bytes + 100);
        EXPECT_EQ(layout->data_bytes(), first + 100);
    }
}

TEST(VolumeLayout, ABlockIsCheckedByWhereItLiesInItsVolume) {
    const auto layout =
        VolumeLayout::of({{"a", uuid_of(1), 3 * kMiB}, {"b", uuid_of(2), 3 * kMiB}});
    ASSERT_TRUE(layout);
    const std::vector<std::byte> block(4096, std::byte{7});
    const BlockCheck check = layout->check();
    EXPECT_EQ(check.of(block, 8192), BlockCheck(uuid_of(1)).of(block, 8192));
    const std::uint64_t start = layout->parts()[1].start_bytes;
    EXPECT_EQ(check.of(block, start + 8192), BlockCheck(uuid_of(2)).of(block, 8192));
    EXPECT_NE(check.of(block, start), check.of(block, 0));
}

TEST(VolumeLayout, FindsThePartOfAByte) {
    const auto layout = VolumeLayout::of({{"a", uuid_of(1), 5}, {"b", uuid_of(2), 7}});
    ASSERT_TRUE(layout);
    EXPECT_EQ(layout->part_at(0)->name, "a");
    EXPECT_EQ(layout->part_at(layout->parts()[1].start_bytes - 1)->name, "a");
    EXPECT_EQ(layout->part_at(layout->parts()[1].start_bytes)->name, "b");
}

TEST(VolumeLayout, RefusesWhatCannotBe) {
    const Volumes wrong[] = {
        {},
        {{"a", uuid_of(1), 0}},
        {{"a", uuid_of(1), UINT64_MAX}},
        {{"", uuid_of(1), 5}},
        {{".a", uuid_of(1), 5}},
        {{"a/b", uuid_of(1), 5}},
        {{std::string("a\0b", 3), uuid_of(1), 5}},
        {{"a\nb", uuid_of(1), 5}},
        {{std::string(256, 'a'), uuid_of(1), 5}},
        {{"a", uuid_of(1), 5}, {"a", uuid_of(2), 5}},
        {{"a", uuid_of(1), 5}, {"b", uuid_of(1), 5}},
        Volumes(wire::kVolumesMax + 1, {"a", uuid_of(1), 5}),
    };
    for (const Volumes& each : wrong)
        EXPECT_EQ(VolumeLayout::of(each).error().code, Code::kInvalid);
}

TEST(VolumeLayout, TellsWhetherVolumesAreTheSame) {
    const auto text = [](const Volumes& volumes) { return VolumeLayout::of(volumes)->text(); };
    const std::string both = text({{"a", uuid_of(1), 5}, {"b", uuid_of(2), 7}});
    EXPECT_EQ(both, text({{"x", uuid_of(1), 5}, {"y", uuid_of(2), 7}}));  // names may change
    EXPECT_NE(both, text({{"b", uuid_of(2), 7}, {"a", uuid_of(1), 5}}));
    EXPECT_NE(both, text({{"a", uuid_of(1), 5}, {"b", uuid_of(3), 7}}));
    EXPECT_NE(both, text({{"a", uuid_of(1), 5}, {"b", uuid_of(2), 8}}));
    EXPECT_TRUE(text({{"a", uuid_of(1), 5}}).empty());
}

TEST(VolumeLayout, CountsTheMarksOfAVolume) {
    const auto layout = VolumeLayout::of({{"a", uuid_of(1), 10'000}, {"b", uuid_of(2), 10'000}});
    ASSERT_TRUE(layout);
    ChangeMap map(layout->size_bytes(), 4096);
    map.mark({8192, 1});
    map.mark({layout->parts()[1].start_bytes, 4097});
    EXPECT_EQ(marked_bytes(map, layout->parts()[0]), 10'000U - 8192U);
    EXPECT_EQ(marked_bytes(map, layout->parts()[1]), 8192U);
    EXPECT_EQ(marked_bytes(ChangeMap(), layout->parts()[0]), 0U);
}

}  // namespace towline::testing
