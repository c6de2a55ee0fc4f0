// SPDX-License-Identifier: Apache-2.0
// What LVM and device-mapper say, as lvm2 2.03.16 and Linux 6.1 said it.

#include "cbt/lvm_report.hpp"

#include <gtest/gtest.h>

#include "cbt/snapshot_lvm.hpp"

namespace towline {
namespace {

constexpr const char* kReport = R"({ "report": [ { "lv": [
 {"vg_name":"data", "lv_name":"db", "lv_dm_path":"/dev/mapper/data-db", "origin":"", "pool_lv":"",
  "lv_layout":"linear", "lv_tags":"", "lv_size":"104857600", "vg_free":"4194304",
  "data_percent":"", "metadata_percent":"", "lv_kernel_major":"253", "thin_id":""},
 {"vg_name":"data", "lv_name":"db", "lv_dm_path":"/dev/mapper/data-db", "origin":"", "pool_lv":"",
  "lv_layout":"linear", "lv_tags":"", "lv_size":"104857600", "vg_free":"4194304",
  "data_percent":"", "metadata_percent":"", "lv_kernel_major":"253", "thin_id":""},
 {"vg_name":"data", "lv_name":"pool", "lv_dm_path":"/dev/mapper/data-pool", "origin":"",
  "pool_lv":"", "lv_layout":"thin,pool", "lv_tags":"", "lv_size":"52428800", "vg_free":"4194304",
  "data_percent":"81.25", "metadata_percent":"10.94", "lv_kernel_major":"253", "thin_id":""},
 {"vg_name":"data", "lv_name":"towline-1", "lv_dm_path":"/dev/mapper/data-towline--1",
  "origin":"thin", "pool_lv":"pool", "lv_layout":"thin,sparse",
  "lv_tags":"towline,towline.owner.x-y", "lv_size":"8192", "vg_free":"4194304",
  "data_percent":"0.00", "metadata_percent":"", "lv_kernel_major":"-1", "thin_id":"2"}
] } ] })";

TEST(LvmReport, ReadsVolumesOneEach) {
    const auto volumes = parse_logical_volumes(kReport).value();
    ASSERT_EQ(volumes.size(), 3U);
    EXPECT_EQ(volumes[0].full_name(), "data/db");
    EXPECT_EQ(volumes[0].bytes, 104857600U);
    EXPECT_EQ(volumes[0].group_free_bytes, 4194304U);
    EXPECT_FALSE(volumes[0].is_thin());
    EXPECT_TRUE(volumes[2].is_thin() && volumes[2].has_tag("towline"));
    EXPECT_EQ(volumes[2].tag_rest("towline.owner."), "x-y");
    EXPECT_EQ(volumes[2].thin_id, 2U);
    EXPECT_TRUE(volumes[0].active && !volumes[2].active);
}

TEST(LvmReport, AnythingElseIsNoReport) {
    for (const char* text : {"", "[]", "{}", R"({"report":3})", "WARNING: no"})
        EXPECT_EQ(parse_logical_volumes(text).error().code, Code::kUnsupported) << text;
    EXPECT_TRUE(parse_logical_volumes(R"({"report":[{"lv":[]}]})").value().empty());
}

TEST(LvmReport, TellsTheRoomOfASnapshot) {
    const auto thick = parse_snapshot_room("0 204800 snapshot 1024/4096 16\n");
    ASSERT_TRUE(thick);
    EXPECT_DOUBLE_EQ(thick->share(), 0.25);
    EXPECT_EQ(thick->used * thick->unit_bytes, 512U * 1024);
    EXPECT_FALSE(thick->lost);
    for (const char* word : {"Invalid", "Overflow", "Merge failed"})
        EXPECT_TRUE(parse_snapshot_room(std::string("0 204800 snapshot ") + word)->lost) << word;
    EXPECT_TRUE(parse_snapshot_room("0 204800 error ")->lost);
}

TEST(LvmReport, TellsTheRoomOfAPoolByWhateverIsFuller) {
    const auto pool = parse_snapshot_room(
        "0 81920 thin-pool 1 90/100 40/80 - rw no_discard_passdown queue_if_no_space - 1024 ");
    ASSERT_TRUE(pool);
    EXPECT_DOUBLE_EQ(pool->share(), 0.9);
    EXPECT_FALSE(pool->lost);
    EXPECT_TRUE(parse_snapshot_room("0 81920 thin-pool 1 9/100 80/80 - out_of_data_space x")->lost);
    EXPECT_TRUE(parse_snapshot_room("0 81920 thin-pool Fail")->lost);
    EXPECT_FALSE(parse_snapshot_room("0 81920 thin 100 200"));
    EXPECT_FALSE(parse_snapshot_room(""));
}

TEST(LvmReport, AThickSnapshotIsNeverLargerThanItsVolumeNeeds) {
    constexpr std::uint64_t kMib = 1 << 20;
    EXPECT_EQ(lvm_store_bytes(1000 * kMib, 10000 * kMib), 100 * kMib);
    EXPECT_EQ(lvm_store_bytes(100 * kMib, 10000 * kMib), 64 * kMib);
    EXPECT_EQ(lvm_store_bytes(1000 * kMib, 20 * kMib), 20 * kMib);
    EXPECT_LT(lvm_store_bytes(8 * kMib, 10000 * kMib), 32 * kMib);
}

}  // namespace
}  // namespace towline
