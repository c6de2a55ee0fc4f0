// SPDX-License-Identifier: Apache-2.0
// What is grown, and what is refused before anything is written.

#include "userspace/vault/growth_plan.hpp"

#include <gtest/gtest.h>

namespace towline {
namespace {

constexpr std::uint64_t kMib = std::uint64_t{1} << 20;
const GrowthTarget kTarget{.name = "/dev/new", .bytes = 100 * kMib};

VolumeFacts whole(const std::string& type) {
    return {.bytes = 50 * kMib, .filesystem = {.type = type, .uuid = "u", .label = ""}};
}

// The last one is not the one with the highest number.
VolumeFacts partitioned(const std::string& table, const std::string& type) {
    VolumeFacts facts{.bytes = 50 * kMib, .table = table};
    facts.partitions = {
        {.number = 2, .start_bytes = 10 * kMib, .bytes = 39 * kMib, .filesystem = {.type = type}},
        {.number = 3, .start_bytes = kMib, .bytes = 2 * kMib, .filesystem = {.type = "vfat"}}};
    return facts;
}

void expect_refused(const VolumeFacts& facts, const std::string& says,
                    const GrowthTarget& target = kTarget) {
    const auto plan = plan_growth(facts, target);
    ASSERT_FALSE(plan) << says;
    EXPECT_EQ(plan.error().code, Code::kRefused);
    EXPECT_NE(plan.error().context.find(says), std::string::npos) << plan.error().context;
    EXPECT_NE(plan.error().context.find("without --grow"), std::string::npos)
        << plan.error().context;
}

TEST(GrowthPlan, TheLastPartitionByItsPlace) {
    for (const std::string table : {"gpt", "dos"}) {
        const auto plan = plan_growth(partitioned(table, "xfs"), kTarget);
        ASSERT_TRUE(plan) << plan.error().text();
        EXPECT_EQ(plan->partition, 2U);
        EXPECT_EQ(plan->kind, GrownKind::kXfs);
        EXPECT_EQ(plan->start_bytes, 10 * kMib);
        EXPECT_EQ(plan->bytes, 39 * kMib);
        EXPECT_EQ(plan->table, table);
    }
}

TEST(GrowthPlan, AVolumeWithoutATableIsItsFilesystem) {
    for (const std::string type : {"ext2", "ext3", "ext4", "xfs", "btrfs"}) {
        const auto plan = plan_growth(whole(type), kTarget);
        ASSERT_TRUE(plan) << plan.error().text();
        EXPECT_EQ(plan->table, "");
        EXPECT_EQ(plan->bytes, 50 * kMib);
        EXPECT_EQ(plan->filesystem, type);
    }
}

TEST(GrowthPlan, WhatIsNoFilesystemOfThoseIsRefused) {
    expect_refused(whole(""), "no filesystem that is known");
    expect_refused(whole("vfat"), "vfat");
    expect_refused(whole("crypto_LUKS"), "cryptsetup open");
    expect_refused(partitioned("gpt", "LVM2_member"), "pvresize");
    expect_refused(partitioned("dos", "linux_raid_member"), "mdadm");
    expect_refused(partitioned("gpt", ""), "partition (2)");
}

TEST(GrowthPlan, TablesThatCannotGrow) {
    expect_refused(partitioned("sun", "ext4"), "sun");
    VolumeFacts logical = partitioned("dos", "ext4");
    logical.partitions[0].logical = true;
    expect_refused(logical, "resizepart");
    const GrowthTarget large{.name = "/dev/new", .bytes = std::uint64_t{3} << 40};
    expect_refused(partitioned("dos", "ext4"), "2 TiB", large);
    EXPECT_TRUE(plan_growth(partitioned("gpt", "ext4"), large));
    expect_refused(partitioned("gpt", "ext4"), "4096",
                   {.name = "/dev/new", .bytes = 100 * kMib, .sector_bytes = 4096});
}

TEST(GrowthPlan, ATargetThatIsNoLargerIsRefused) {
    expect_refused(whole("ext4"), "no larger", {.name = "/dev/new", .bytes = 50 * kMib});
    EXPECT_TRUE(plan_growth(whole("ext4"), {.name = "/dev/new", .bytes = 50 * kMib + 512}));
}

}  // namespace
}  // namespace towline
