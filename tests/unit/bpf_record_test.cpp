// SPDX-License-Identifier: Apache-2.0
// When the marks of a volume may still be believed: never after anything that could have let a
// write go by.

#include <gtest/gtest.h>

#include "cbt/bpf/record.hpp"
#include "tests/unit/storage_fixture.hpp"

namespace towline {
namespace {

BpfRecord example() {
    BpfRecord record;
    record.tracker = Uuid::random();
    record.volume = "/dev/sda1";
    record.span = {
        .boot = "boot",
        .device = 0x801,
        .disk = 0x800,
        .disk_sequence = "9",
        .identity = {.kind = "device", .locator = "wwid:1/partition:2@34", .generation = ""},
        .first_sector = 34,
        .volume_bytes = 1 << 30};
    record.block_bytes = 64 << 10;
    record.attached_at = 1'700'000'000;
    record.ids = {{"link queued", 5}, {"map marks", 6}};
    return record;
}

BpfStanding judged(const BpfRecord& record, const VolumeSpan& now) {
    return judge(record, now, record.ids);
}

TEST(BpfRecord, UntouchedIsIntact) {
    const BpfRecord record = example();
    const BpfStanding standing = judged(record, record.span);
    EXPECT_TRUE(standing.intact);
    EXPECT_FALSE(standing.gone);
    EXPECT_TRUE(standing.reasons.empty());
}

TEST(BpfRecord, AnotherBootLosesIt) {
    const BpfRecord record = example();
    VolumeSpan now = record.span;
    now.boot = "next";
    now.disk_sequence = "1";
    now.device = 0x811;  // the disk may come up under another number
    const BpfStanding standing = judged(record, now);
    EXPECT_FALSE(standing.intact);
    EXPECT_FALSE(standing.gone);
    EXPECT_TRUE(standing.reasons.has(ChangeReason::kCrash));
}

TEST(BpfRecord, AnotherDiskUnderTheNameIsGone) {
    const BpfRecord record = example();
    VolumeSpan reattached = record.span;
    reattached.disk_sequence = "10";
    VolumeSpan other = record.span;
    other.identity.locator = "wwid:2/partition:2@34";
    for (const VolumeSpan& now : {reattached, other}) {
        EXPECT_TRUE(judged(record, now).gone);
        EXPECT_FALSE(judged(record, now).intact);
    }
    EXPECT_TRUE(judge(record, std::nullopt, record.ids).gone);
}

TEST(BpfRecord, AResizeIsNoticed) {
    const BpfRecord record = example();
    VolumeSpan now = record.span;
    now.volume_bytes *= 2;
    EXPECT_TRUE(judged(record, now).reasons.has(ChangeReason::kGrew));
    EXPECT_FALSE(judged(record, now).intact);
    now.volume_bytes = 4096;
    EXPECT_TRUE(judged(record, now).reasons.has(ChangeReason::kShrank));
    now = record.span;
    now.first_sector = 2048;
    EXPECT_TRUE(judged(record, now).reasons.has(ChangeReason::kGap));
}

TEST(BpfRecord, HooksThatWereTouchedAreAGap) {
    BpfRecord record = example();
    EXPECT_TRUE(judge(record, record.span, std::nullopt).reasons.has(ChangeReason::kGap));
    for (const char* part : {"link queued", "map marks"}) {
        HookIds ids = record.ids;
        ++ids[part];
        EXPECT_FALSE(judge(record, record.span, ids).intact) << part;
        ids.erase(part);
        EXPECT_FALSE(judge(record, record.span, ids).intact) << part;
    }
    const HookIds none;
    record.ids = none;  // attaching it was never finished
    EXPECT_FALSE(judge(record, record.span, none).intact);
}

TEST(BpfRecords, AreKept) {
    const testing::TemporaryFolder folder;
    const BpfRecords records(folder / "bpf");
    EXPECT_TRUE(records.all().value().empty());
    const BpfRecord record = example();
    ASSERT_TRUE(records.save(record));
    ASSERT_TRUE(records.save(example()));
    EXPECT_EQ(records.all().value().size(), 2U);
    const BpfRecord loaded = records.load(record.tracker).value().value();
    EXPECT_EQ(loaded.tracker, record.tracker);
    EXPECT_EQ(loaded.span, record.span);
    EXPECT_EQ(loaded.ids, record.ids);
    EXPECT_EQ(loaded.volume, record.volume);
    EXPECT_EQ(loaded.block_bytes, record.block_bytes);
    EXPECT_EQ(loaded.attached_at, record.attached_at);
    ASSERT_TRUE(records.remove(record.tracker));
    EXPECT_FALSE(records.load(record.tracker).value());
    ASSERT_TRUE(records.remove(record.tracker));
}

}  // namespace
}  // namespace towline
