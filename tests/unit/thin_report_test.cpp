// SPDX-License-Identifier: Apache-2.0
// What device-mapper (Linux 6.1) and thin_dump (0.9.0; "def" and "ref" of 1.0) say of a thin
// volume. A chunk that is wrongly left out is lost, so whatever is not wholly understood must be
// refused.

#include "cbt/thin_report.hpp"

#include <gtest/gtest.h>

namespace towline {
namespace {

constexpr std::uint64_t kChunk = 64 << 10;
const ThinPool kPool{.metadata = "253:0", .chunk_bytes = kChunk};

ThinVolume volume_of(std::uint64_t bytes, std::uint64_t id = 1) {
    return {.bytes = bytes, .pool = "253:2", .id = id, .has_origin = false};
}

std::string dump_of(const std::string& inner) {
    return "<superblock uuid=\"\" time=\"1\" transaction=\"2\" flags=\"0\" version=\"2\" "
           "data_block_size=\"128\" nr_data_blocks=\"576\">\n" +
           inner + "</superblock>\n";
}

std::string device_of(int id, int mapped, const std::string& inner) {
    return "  <device dev_id=\"" + std::to_string(id) + "\" mapped_blocks=\"" +
           std::to_string(mapped) + "\" transaction=\"0\" creation_time=\"0\" snap_time=\"1\">\n" +
           inner + "  </device>\n";
}

std::string one(std::uint64_t chunk) {
    return "    <single_mapping origin_block=\"" + std::to_string(chunk) +
           "\" data_block=\"7\" time=\"0\"/>\n";
}

std::string some(std::uint64_t begin, std::uint64_t count) {
    return "    <range_mapping origin_begin=\"" + std::to_string(begin) +
           "\" data_begin=\"9\" length=\"" + std::to_string(count) + "\" time=\"0\"/>\n";
}

using Extents = std::vector<Extent>;

Extents read(const std::string& dump, const ThinVolume& volume) {
    auto extents = parse_thin_dump(dump, kPool, volume);
    EXPECT_TRUE(extents) << dump;
    return extents ? *extents : Extents{{99, 99}};
}

void refused(const std::string& dump, const ThinVolume& volume = volume_of(100 * kChunk)) {
    EXPECT_FALSE(parse_thin_dump(dump, kPool, volume)) << dump;
}

TEST(ThinReport, ReadsTheTableOfAVolume) {
    const auto volume = parse_thin_volume("0 65536 thin 253:2 5\n");
    ASSERT_TRUE(volume);
    EXPECT_EQ(volume->bytes, 65536U * 512);
    EXPECT_EQ(volume->pool, "253:2");
    EXPECT_EQ(volume->id, 5U);
    EXPECT_FALSE(volume->has_origin);
    EXPECT_TRUE(parse_thin_volume("0 65536 thin 253:2 5 253:9")->has_origin);
}

TEST(ThinReport, WhatIsNotOneThinVolumeIsNone) {
    for (const char* table :
         {"", "0 65536 linear 8:0 2048\n", "0 8 thin 253:2 5\n8 8 thin 253:2 6\n",
          "8 8 thin 253:2 5\n", "0 x thin 253:2 5\n", "0 8 thin 253:2 -5\n", "0 8 thin 253:2\n",
          "0 8 thin 253:2 5 253:9 more\n", "0 99999999999999999999 thin 253:2 5\n",
          "0 18446744073709551615 thin 253:2 5\n", "0 65536 error \n"})
        EXPECT_FALSE(parse_thin_volume(table)) << table;
}

TEST(ThinReport, ReadsTheTableOfAPool) {
    const auto pool =
        parse_thin_pool("0 73728 thin-pool 253:0 253:1 128 0 1 skip_block_zeroing \n");
    ASSERT_TRUE(pool);
    EXPECT_EQ(pool->metadata, "253:0");
    EXPECT_EQ(pool->chunk_bytes, kChunk);
    for (const char* table :
         {"", "0 73728 thin-pool 253:0 253:1\n", "0 73728 thin-pool 253:0 253:1 0 0\n",
          "0 73728 thin-pool 253:0 253:1 99999999999 0\n", "0 73728 linear 253:1 0\n"})
        EXPECT_FALSE(parse_thin_pool(table)) << table;
}

TEST(ThinReport, TellsWhichMetadataSnapshotStands) {
    const auto root = [](const std::string& held) {
        return parse_metadata_snapshot("0 73728 thin-pool 2 11/1024 64/576 " + held +
                                       " rw discard_passdown queue_if_no_space - 1024 \n");
    };
    EXPECT_EQ(root("-"), "");
    EXPECT_EQ(root("45"), "45");
    EXPECT_FALSE(root("x"));
    EXPECT_FALSE(parse_metadata_snapshot("0 73728 thin-pool Fail\n"));
    EXPECT_FALSE(parse_metadata_snapshot(""));
}

TEST(ThinReport, ReadsWhatIsAllocated) {
    const std::string dump =
        dump_of(device_of(4, 1, one(50)) + device_of(1, 5, one(0) + one(1) + some(7, 3)));
    const Extents wanted{{0, 2 * kChunk}, {7 * kChunk, 3 * kChunk}};
    EXPECT_EQ(read(dump, volume_of(100 * kChunk)), wanted);
    EXPECT_EQ(read(dump, volume_of(100 * kChunk, 4)), (Extents{{50 * kChunk, kChunk}}));
    EXPECT_EQ(read(dump_of(device_of(1, 0, "")), volume_of(kChunk)), Extents());
}

TEST(ThinReport, EndsWithItsVolume) {
    // In the middle of its last chunk; and it was larger once.
    const std::string dump = dump_of(device_of(1, 6, one(2) + some(4, 5)));
    EXPECT_EQ(read(dump, volume_of(4 * kChunk + 512)),
              (Extents{{2 * kChunk, kChunk}, {4 * kChunk, 512}}));
    EXPECT_EQ(read(dump, volume_of(5 * kChunk)),
              (Extents{{2 * kChunk, kChunk}, {4 * kChunk, kChunk}}));
    EXPECT_EQ(read(dump, volume_of(2 * kChunk)), Extents());
}

TEST(ThinReport, TakesWhatIsSharedInItsPlace) {
    const std::string dump =
        dump_of("  <def name=\"0\">\n" + some(3, 2) + "  </def>\n  <def name=\"1\">\n" + one(9) +
                "  </def>\n" + device_of(1, 4, one(1) + "<ref name=\"0\"/>\n<ref name=\"1\"/>\n") +
                device_of(2, 2, "<ref name=\"0\"/>\n"));
    EXPECT_EQ(read(dump, volume_of(100 * kChunk)),
              (Extents{{kChunk, kChunk}, {3 * kChunk, 2 * kChunk}, {9 * kChunk, kChunk}}));
    EXPECT_EQ(read(dump, volume_of(100 * kChunk, 2)), (Extents{{3 * kChunk, 2 * kChunk}}));
}

TEST(ThinReport, APartIsNotTheWhole) {
    const std::string dump =
        dump_of(device_of(4, 2, some(3, 2)) + device_of(1, 5, one(0) + some(7, 4)));
    EXPECT_TRUE(parse_thin_dump(dump, kPool, volume_of(100 * kChunk)));
    // Cut off anywhere but behind the last mark.
    for (std::size_t length = 0; length < dump.size() - 1; ++length)
        refused(dump.substr(0, length));
    // A line that is missing.
    for (std::size_t begin = 0; begin < dump.size();) {
        const std::size_t end = dump.find('\n', begin) + 1;
        std::string without = dump;
        without.erase(begin, end - begin);
        if (dump.substr(begin, end - begin).find("origin_begin=\"3\"") == std::string::npos)
            refused(without);
        begin = end;
    }
    refused(dump_of(device_of(2, 1, one(0))));  // of others alone
}

TEST(ThinReport, AnotherCountIsRefused) {
    refused(dump_of(device_of(1, 3, one(0) + one(1))));
    refused(dump_of(device_of(1, 1, one(0) + one(1))));
    refused(dump_of(device_of(1, 1, one(0)) + device_of(1, 1, one(1))));
}

TEST(ThinReport, AnotherChunkSizeIsRefused) {
    std::string dump = dump_of(device_of(1, 1, one(0)));
    dump.replace(dump.find("\"128\""), 5, "\"256\"");
    refused(dump);
}

TEST(ThinReport, HostileDumpsAreRefused) {
    const std::string good = one(0);
    for (const std::string& inner : {
             one(1) + one(0),               // backwards
             one(1) + one(1),               // twice
             some(0, 4) + one(3),           // one over the other
             some(0, 0),                    // of nothing
             some(UINT64_MAX, 2) + one(0),  // its end overflows
             some(2, UINT64_MAX),           //
             std::string("<range_mapping origin_begin=\"-1\" data_begin=\"0\" length=\"1\"/>\n"),
             std::string("<range_mapping origin_begin=\"1\" data_begin=\"0\"/>\n"),
             std::string("<single_mapping data_block=\"0\"/>\n"),
             std::string("<single_mapping origin_block=\"0x1\" data_block=\"0\"/>\n"),
             std::string("<single_mapping origin_block=\"99999999999999999999\"/>\n"),
             std::string("<single_mapping origin_block=\"1\" origin_block=\"2\"/>\n"),
             std::string("<single_mapping origin_block=1/>\n"),
             std::string("<single_mapping origin_block=\"1/>\n"),
             std::string("<single_mapping origin_block=\"1\">\n"),
             std::string("<another_mapping origin_block=\"1\"/>\n"),
             std::string("<ref name=\"none\"/>\n"),
             std::string("<device dev_id=\"1\" mapped_blocks=\"1\">\n"),
             std::string("</superblock>\n"),
             std::string("what is this\n"),
             std::string("<>\n"),
             std::string("</>\n"),
             std::string("</device x=\"1\">\n"),
         }) {
        refused(dump_of(device_of(1, 1, inner)));
        refused(dump_of(device_of(1, 1, good + inner)));
    }
    const std::string whole = dump_of(device_of(1, 1, good));
    refused(whole + whole);
    refused(whole + one(5));
    refused(one(5) + whole);
    refused(dump_of(one(5) + device_of(1, 1, good)));
    refused(dump_of("<def name=\"0\">\n" + one(0) + "<ref name=\"0\"/>\n</def>\n" +
                    device_of(1, 1, "<ref name=\"0\"/>\n")));
    refused(
        dump_of("<def name=\"0\">\n</def>\n<def name=\"0\">\n</def>\n" + device_of(1, 1, good)));
    refused(dump_of(device_of(1, 1, good) + "<def name=\"0\">\n"));
    refused(std::string(1 << 20, '<'));
    refused(std::string(1 << 20, '\n'));
}

}  // namespace
}  // namespace towline
